"""Clients as they come, against `aortica serve`. The truth is what `aortica query` says of the same lake, and what libpq makes of a
password. Started by run.sh, which gives AORTICA, AORTICA_TEST_WORK (lake, users, certificate) and AORTICA_TEST_TOKEN."""

import base64
import io
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import unittest
import urllib.error
import urllib.request

import pandas
import psycopg
import pyarrow.ipc
import sqlalchemy

WORK = pathlib.Path(os.environ["AORTICA_TEST_WORK"])
ADDRESSES = json.loads((WORK / "addresses").read_text())
PORT = ADDRESSES["pg"].rsplit(":", 1)[1]
HTTP = "https://localhost:" + ADDRESSES["http"].rsplit(":", 1)[1]
CERTIFICATE = str(WORK / "certificate.pem")
LIBPQ = {
    "host": "localhost",
    "port": PORT,
    "user": "anna",
    "password": "correct horse",
    "dbname": "lake",
    "sslmode": "verify-full",
    "sslrootcert": CERTIFICATE,
}


def query(sql, *options):
    """What `aortica query` prints as CSV."""
    lake = str(WORK / "lake")
    return subprocess.run([os.environ["AORTICA"], "query", "--lake", lake, "--format", "csv", *options, sql], check=True, capture_output=True, text=True).stdout


def psql(*arguments, **changed):
    settings = {**LIBPQ, **changed}
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    environment = {names.get(key, "PG" + key.upper()): value for key, value in settings.items()}
    command = ["psql", "--no-psqlrc", "--no-password", "-v", "ON_ERROR_STOP=1", *arguments]
    return subprocess.run(command, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment}, capture_output=True, text=True)


def connect(**changed):
    return psycopg.connect(**{**LIBPQ, **changed})


class Psql(unittest.TestCase):
    def told(self, *arguments, **changed):
        done = psql(*arguments, **changed)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_rows_are_those_of_the_lake(self):
        sql = "SELECT item_id, status, aac24_total, aac_length_mm FROM readings ORDER BY item_id"
        told = pandas.read_csv(io.StringIO(self.told("--csv", "-c", sql)))
        pandas.testing.assert_frame_equal(told, pandas.read_csv(io.StringIO(query(sql))), check_dtype=False)

    def test_describing(self):
        tables = self.told("-At", "-c", r"\d")
        for name in ["readings", "segments", "ledger", "latest_by_image_date", "statistics_functions"]:
            self.assertIn(f"public|{name}|", tables)
        self.assertNotIn("parts|", tables)
        self.assertIn("public|instances|table", self.told("-At", "-c", r"\dt"))
        self.assertIn("public|readings|view", self.told("-At", "-c", r"\dv"))
        readings = self.told("-At", "-c", r"\d readings")
        for column in ["aac24_total|integer", "image_date|date", "aac_length_mm|double precision", "participant_id|text"]:
            self.assertIn(column, readings)
        self.assertIn("lake", self.told("-At", "-c", r"\l"))
        self.assertIn("public", self.told("-At", "-c", r"\dn"))

    def test_functions_are_listed(self):
        functions = self.told("-At", "-c", r"\df")
        names = set(query("SELECT name FROM statistics_functions").split()[1:])
        self.assertGreater(len(names), 30)
        self.assertEqual({line.split("|")[1] for line in functions.splitlines()}, names)
        self.assertIn("count, n", self.told("-At", "-c", r"\df wilson"))

    def test_the_aggregate_role_is_told_what_the_policy_allows(self):
        ben = {"user": "ben", "password": "battery staple"}
        for sql in ["SELECT * FROM aggregate_functions", "SELECT * FROM participants()", "SELECT * FROM prevalence('sex')"]:
            # psql writes t and f.
            told = pandas.read_csv(io.StringIO(self.told("--csv", "-c", sql, **ben)), true_values=["t"], false_values=["f"])
            expected = pandas.read_csv(io.StringIO(query(sql, "--role", "aggregate")))
            pandas.testing.assert_frame_equal(told, expected, check_dtype=False)
        self.assertNotIn("readings", self.told("-At", "-c", r"\d", **ben))

    def test_pieces(self):
        sql = "SELECT value FROM range(1, 8)"
        self.assertEqual(self.told("-At", "-v", "FETCH_COUNT=3", "-c", sql).split(), [str(n) for n in range(1, 8)])

    def test_refusals(self):
        wrong = psql("-c", "SELECT aac24 FROM readings")
        self.assertIn("did you mean aac24_total?", wrong.stderr)
        self.assertIn("can only be read", psql("-c", "DROP TABLE readings").stderr)
        self.assertIn("COPY is not served", psql("-c", r"\copy readings to '/dev/null'").stderr)
        ben = {"user": "ben", "password": "battery staple"}
        self.assertIn("the aggregate role sees no rows", psql("-c", "SELECT * FROM readings", **ben).stderr)
        self.assertIn("do not match", psql("-c", "SELECT 1", password="correct hors").stderr)
        self.assertIn("do not match", psql("-c", "SELECT 1", user="eve").stderr)
        self.assertIn("sslmode=require", psql("-c", "SELECT 1", sslmode="disable").stderr)
        self.assertIn("timeout", psql("-c", "SELECT 1", options="-c statement_timeout=soon").stderr)


class Passwords(unittest.TestCase):
    def test_a_verifier_made_by_libpq_lets_in(self):
        with connect() as connection:
            verifier = connection.pgconn.encrypt_password(b"staple battery", b"carl", b"scram-sha-256").decode()
        users = WORK / "users.toml"
        users.write_text(users.read_text() + f'\n[[user]]\nname = "carl"\nrole = "row"\nscram = "{verifier}"\n')
        with connect(user="carl", password="staple battery") as connection:
            self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))
        # Letters that SASLprep changes: a full-width A and a soft hyphen.
        subprocess.run([os.environ["AORTICA"], "serve", "user", "dora", "--users", users], input="\uff21pfel\u00adbaum\n", text=True, check=True, capture_output=True)
        with connect(user="dora", password="Apfelbaum") as connection:
            self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))


class Psycopg(unittest.TestCase):
    def test_types_and_values(self):
        sql = "SELECT %s::bigint, %s::double precision, %s::text, %s::date, %s::boolean, NULL::int"
        for binary in [False, True]:
            with connect() as connection, connection.cursor(binary=binary) as cursor:
                import datetime

                given = (7, 0.25, "naïve 'q'", datetime.date(2020, 5, 17), True)
                self.assertEqual(cursor.execute(sql, given).fetchone(), (*given, None))
                row = cursor.execute("SELECT [1, 2, 3] AS l, wilson(81, 263) AS w, count(*) AS n FROM readings").fetchone()
                self.assertEqual(row[0], [1, 2, 3])
                self.assertEqual(str(row[2]), query("SELECT count(*) AS n FROM readings").split()[1])

    def test_columns_of_readings(self):
        import datetime

        with connect() as connection:
            sql = "SELECT aac24_total, image_date, scored_at, aac_length_mm, flag_review, sex FROM readings WHERE status = %s"
            row = connection.execute(sql, ("scored",)).fetchone()
            for value, kind in zip(row, [int, datetime.date, datetime.datetime, float, bool, str]):
                self.assertIsInstance(value, (kind, type(None)))

    def test_prepared_pieces_pipelines_and_transactions(self):
        with connect() as connection:
            for number in range(12):
                row = connection.execute("SELECT count(*) FROM readings WHERE aac24_total >= %s", (number,)).fetchone()
                expected = query(f"SELECT count(*) AS n FROM readings WHERE aac24_total >= {number}").split()[1]
                self.assertEqual(str(row[0]), expected)
            with connection.cursor(name="c") as cursor:
                cursor.itersize = 1000
                cursor.execute("SELECT value FROM range(2500)")
                self.assertEqual(sum(value for (value,) in cursor), 2500 * 2499 // 2)
            connection.commit()
            with connection.pipeline():
                cursors = [connection.execute("SELECT %s::int", (n,)) for n in range(5)]
                self.assertEqual([cursor.fetchone()[0] for cursor in cursors], [0, 1, 2, 3, 4])
            with self.assertRaises(psycopg.errors.ReadOnlySqlTransaction):
                connection.execute("DELETE FROM readings")
            with self.assertRaises(psycopg.Error):
                connection.execute("SELECT 1")
            connection.rollback()
            self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))

    def test_limits(self):
        endless = "SELECT sum(a.value * b.value) FROM range(10000000) a, range(10000000) b"
        with connect(options="-c statement_timeout=200ms", autocommit=True) as connection:
            with self.assertRaises(psycopg.errors.QueryCanceled):
                connection.execute(endless)
            with self.assertRaises(psycopg.errors.OutOfMemory):
                connection.execute("SET statement_timeout = 0").connection.execute("SELECT sum(value) OVER () FROM range(10000000000)")
            self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))

    def test_cancelling(self):
        import threading

        with connect(autocommit=True) as connection:
            stop = threading.Event()

            def cancel():
                while not stop.wait(0.2):
                    connection.cancel_safe(timeout=10)

            canceller = threading.Thread(target=cancel)
            canceller.start()
            with self.assertRaises(psycopg.errors.QueryCanceled):
                connection.execute("SELECT sum(a.value * b.value) FROM range(10000000) a, range(10000000) b")
            stop.set()
            canceller.join()


class SqlAlchemyAndPandas(unittest.TestCase):
    def setUp(self):
        self.engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=connect)
        self.addCleanup(self.engine.dispose)

    def test_inspection(self):
        inspector = sqlalchemy.inspect(self.engine)
        names = set(inspector.get_table_names()) | set(inspector.get_view_names())
        self.assertLessEqual({"readings", "segments", "ledger", "results", "instances"}, names)
        columns = {column["name"]: column["type"] for column in inspector.get_columns("readings")}
        self.assertIsInstance(columns["aac24_total"], sqlalchemy.INTEGER)
        self.assertIsInstance(columns["image_date"], sqlalchemy.DATE)
        self.assertTrue(inspector.has_table("readings"))
        self.assertFalse(inspector.has_table("nothing"))

    def test_frames(self):
        sql = "SELECT item_id, status, aac24_total, aac_length_mm FROM readings ORDER BY item_id"
        expected = pandas.read_csv(io.StringIO(query(sql)))
        frame = pandas.read_sql(sqlalchemy.text(sql), self.engine)
        pandas.testing.assert_frame_equal(frame, expected, check_dtype=False)
        with self.engine.connect().execution_options(stream_results=True) as connection:
            pieces = list(pandas.read_sql(sqlalchemy.text(sql), connection, chunksize=5))
        self.assertGreater(len(pieces), 1)
        # a piece in which nothing was scored is of pandas' type for unknown things, whatever the column is
        pieces = [piece.astype(frame.dtypes) for piece in pieces]
        pandas.testing.assert_frame_equal(pandas.concat(pieces, ignore_index=True), expected, check_dtype=False)

    def test_reflected_table(self):
        readings = sqlalchemy.Table("readings", sqlalchemy.MetaData(), autoload_with=self.engine)
        statement = sqlalchemy.select(readings.c.status, sqlalchemy.func.count()).group_by(readings.c.status).order_by(readings.c.status)
        with self.engine.connect() as connection:
            rows = [f"{status},{n}" for status, n in connection.execute(statement)]
        self.assertEqual(rows, query("SELECT status, count(*) FROM readings GROUP BY 1 ORDER BY 1").split()[1:])


class Http(unittest.TestCase):
    def ask(self, body, authorization):
        context = ssl.create_default_context(cafile=CERTIFICATE)
        request = urllib.request.Request(HTTP + "/v1/query", json.dumps(body).encode(), {"Content-Type": "application/json"})
        if authorization:
            request.add_header("Authorization", authorization)
        with urllib.request.urlopen(request, context=context, timeout=60) as response:
            return response.read()

    def test_formats_and_users(self):
        token = "Bearer " + os.environ["AORTICA_TEST_TOKEN"]
        sql = "SELECT item_id, image_date, aac24_total, aac_length_mm FROM readings ORDER BY item_id"
        self.assertEqual(self.ask({"sql": sql, "format": "csv"}, token).decode(), query(sql))
        basic = "Basic " + base64.b64encode(b"anna:correct horse").decode()
        table = pyarrow.ipc.open_stream(self.ask({"sql": sql, "format": "arrow"}, basic)).read_all()
        self.assertEqual(table.schema.field("aac_length_mm").metadata[b"unit"], b"mm")
        rows = json.loads(self.ask({"sql": sql}, basic))
        self.assertEqual([row["aac24_total"] for row in rows], table.column("aac24_total").to_pylist())
        with self.assertRaises(urllib.error.HTTPError) as refused:
            self.ask({"sql": sql}, None)
        self.assertEqual(refused.exception.code, 401)
        refused.exception.close()


def r_has(package):
    asked = ["Rscript", "-e", f"stopifnot(requireNamespace('{package}'))"]
    return shutil.which("Rscript") is not None and subprocess.run(asked, capture_output=True).returncode == 0


class Disclosure(unittest.TestCase):
    """What the aggregate role is refused in one place it is refused at every door, and what is withheld is withheld at each."""

    BEN = {"user": "ben", "password": "battery staple"}

    def attacks(self):
        lines = pathlib.Path("crates/lake/src/aggregate/attacks.sql").read_text().splitlines()
        attacks = [line for line in lines if not line.startswith("--")]
        self.assertGreater(len(attacks), 20)
        return attacks

    def refused(self, said):
        self.assertIsNone(re.search(r"[0-9a-f]{32}", said), "no identifier in " + said)

    def http(self, body):
        basic = "Basic " + base64.b64encode(b"ben:battery staple").decode()
        try:
            return 200, Http.ask(self, body, basic).decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def test_over_postgresql(self):
        more = ["COPY readings TO STDOUT", "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM readings", "TABLE readings",
                "SELECT pg_read_file('/etc/passwd')", "SELECT * FROM prevalence('sex') p, readings r"]
        with connect(autocommit=True, **self.BEN) as connection:
            for place, sql in enumerate(self.attacks() + more):
                # the simple protocol, and the extended one: at once, prepared, or in pieces
                extended = (
                    lambda: connection.execute(sql, binary=True),
                    lambda: connection.execute(sql, prepare=True),
                    lambda: list(connection.cursor().stream(sql)),
                )[place % 3]
                for ask in (lambda: connection.execute(sql, prepare=False), extended):
                    with self.assertRaises(psycopg.Error, msg=sql) as refused:
                        ask()
                    self.refused(str(refused.exception))
            with self.assertRaises(psycopg.Error):
                connection.execute("SELECT * FROM readings WHERE sex = %s", ["M"])
            with self.assertRaises(psycopg.Error):
                connection.execute("SELECT * FROM participants(%s)", ["participant_id"])
            # the catalog of this door shows no table of rows
            shown = connection.execute("SELECT relname FROM pg_catalog.pg_class").fetchall()
            self.assertEqual({"readings", "segments", "instances", "latest_by_image_date"} & {name for (name,) in shown}, set())

    def test_over_http(self):
        for place, sql in enumerate(self.attacks()):
            status, said = self.http({"sql": sql, "format": ("json", "csv", "arrow")[place % 3]})
            self.assertIn(status, (400, 403), sql)
            self.refused(said)

    def test_what_is_withheld_is_withheld_at_every_door(self):
        for sql in ["SELECT * FROM participants('sex', 'age_band')", "SELECT * FROM prevalence('sex')", "SELECT * FROM score('sex')", "SELECT * FROM flow()"]:
            expected = query(sql, "--role", "aggregate")
            self.assertIn("true", expected, "of a dozen participants some are withheld: " + sql)
            self.assertEqual(self.http({"sql": sql, "format": "csv"}), (200, expected))
            with connect(**self.BEN) as connection:
                rows = connection.execute(sql, prepare=True).fetchall()
            self.assertEqual(len(rows), len(expected.splitlines()) - 1)
            self.assertEqual(sum(row[-1] for row in rows), expected.count(",true\n"))
            self.assertTrue(all(value is None or isinstance(value, str) for row in rows if row[-1] for value in row[:-1]), rows)

    def test_by_the_command_line(self):
        lake = str(WORK / "lake")
        # some of them: the session is the one that the lake's own tests try them all on
        for sql in self.attacks()[::6]:
            done = subprocess.run([os.environ["AORTICA"], "query", "--lake", lake, "--role", "aggregate", sql], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout), (2, ""), sql)
            self.refused(done.stderr)


class Memory(unittest.TestCase):
    """A query that would use 100 GB is refused, and the server's own memory stays within what its settings allow."""

    def test_resident_memory_of_the_server(self):
        most = lambda: int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{os.environ['AORTICA_TEST_SERVER']}/status").read_text())[1])
        before = most()
        hungry = [
            "SELECT array_agg(a.value) FROM range(1000000) a, range(100000) b",
            "SELECT sum(value) OVER () FROM range(100000000000)",
            "SELECT a.value * 1000003 + b.value, count(*) FROM range(1000000) a, range(100000) b GROUP BY 1",
            "SELECT describe(a.value * b.value) FROM range(1000000) a, range(100000) b",
        ]
        for sql in hungry:
            with connect(autocommit=True) as connection, self.assertRaises(psycopg.errors.OutOfMemory, msg=sql):
                connection.execute(sql)
        with connect() as connection:
            self.assertEqual(connection.execute("SELECT 6 * 7").fetchone(), (42,))
        # run.sh allows a query 64 MiB; beside it a batch is worked on in every thread, and freed pages come back late
        self.assertLess((most() - before) / 1024, 3 * 64)


class Answers(unittest.TestCase):
    def test_parquet_on_the_way_out_and_in(self):
        stats = lambda *more: subprocess.run([os.environ["AORTICA"], "stats", *more, "--lake", str(WORK / "lake")], check=True, capture_output=True).stdout
        for name in ("prevalence", "score", "flow"):
            frame = pandas.read_parquet(io.BytesIO(stats(name, "--format", "parquet")))
            pandas.testing.assert_frame_equal(frame, pandas.read_csv(io.BytesIO(stats(name, "--format", "csv"))), check_dtype=False)
        people = pandas.read_csv(io.StringIO(query("SELECT participant_id FROM latest_by_image_date WHERE aac24_total IS NOT NULL ORDER BY 1")))
        people["treated"] = ["yes" if place % 2 else "no" for place in range(len(people))]
        people["clinic"] = ["north" if place % 3 else "south" for place in range(len(people))]
        files = [str(WORK / "people.parquet"), str(WORK / "people.csv")]
        people.to_parquet(files[0])
        people.to_csv(files[1], index=False)
        asked = [stats("table1", "--with", file, "--by", "treated", "--of", "clinic,sex", "--format", "csv") for file in files]
        self.assertIn(b"clinic", asked[0])
        self.assertEqual(*asked)


class R(unittest.TestCase):
    """Drivers of R's DBI. Debian has the older of the two."""

    def rows(self, connect, query_parameters, more=""):
        script = f"""
            db <- {connect}
            stopifnot('readings' %in% DBI::dbListTables(db))
            d <- DBI::dbGetQuery(db, {query_parameters})
            cat(format(d$n), format(d$s), sep = ',')
            first <- DBI::dbGetQuery(db, 'SELECT image_id, image_date, aac24_total, aac24_cat_label FROM readings ORDER BY image_id LIMIT 3')
            stopifnot(nrow(first) == 3, is.character(first$image_id), is.numeric(first$aac24_total))
            said <- tryCatch(DBI::dbGetQuery(db, 'SELECT aac24 FROM readings'), error = function(e) conditionMessage(e))
            {more}
            invisible(DBI::dbDisconnect(db))
        """
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
        environment = {names.get(key, "PG" + key.upper()): value for key, value in LIBPQ.items()}
        done = subprocess.run(["Rscript", "-e", script], env={**os.environ, **environment}, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        expected = query("SELECT count(*) AS n, sum(aac24_total) AS s FROM readings WHERE status = 'scored'").split()[1]
        self.assertEqual(done.stdout, expected)

    @unittest.skipUnless(r_has("RPostgres"), "R has no RPostgres here")
    def test_rpostgres(self):
        asked = "SELECT count(*) AS n, sum(aac24_total) AS s FROM readings WHERE status = $1"
        more = """
            stopifnot(DBI::dbExistsTable(db, 'readings'), !DBI::dbExistsTable(db, 'nowhere'), 'aac24_total' %in% DBI::dbListFields(db, 'readings'))
            stopifnot(nrow(DBI::dbReadTable(db, 'segments')) > 0, inherits(first$image_date, 'Date'), grepl('aac24_total', said))
            sent <- DBI::dbSendQuery(db, 'SELECT image_id, scored_at FROM readings ORDER BY image_id')
            two <- DBI::dbFetch(sent, n = 2)
            stopifnot(nrow(two) == 2, inherits(two$scored_at, 'POSIXct'))
            DBI::dbClearResult(sent)
        """
        self.rows("DBI::dbConnect(RPostgres::Postgres())", f"\"{asked}\", params = list('scored')", more)

    @unittest.skipUnless(r_has("RPostgreSQL"), "R has no RPostgreSQL here")
    def test_rpostgresql(self):
        asked = "SELECT count(*) AS n, sum(aac24_total) AS s FROM readings WHERE status = 'scored'"
        connect = "DBI::dbConnect(RPostgreSQL::PostgreSQL(), {})".format(
            ", ".join(f"{name} = Sys.getenv('{variable}')" for name, variable in (
                ("host", "PGHOST"), ("port", "PGPORT"), ("user", "PGUSER"), ("password", "PGPASSWORD"), ("dbname", "PGDATABASE")))
        )
        self.rows(connect, f'"{asked}"')
