//! PostgreSQL's protocol: what a client may count on.

use crate::lake::{limits, serve, serve_to};
use crate::wire::{Client, connect, log_in, message, startup, try_connect};
use serve::{Identity, Limits, Role, Users, set_password};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_seen_as_soon_as_it_is_committed() {
    let served = serve(limits()).await;
    let mut client = connect(served.pg).await;
    let count = "SELECT count(*) FROM readings WHERE status = 'failed'";
    assert_eq!(client.value(count).await, "0");
    client.send(&message(b'P', format!("kept\0{count}\0\0\0").as_bytes())).await;
    served.commit(0..3).await;
    assert_eq!(client.value(count).await, "3");
    // A statement that was prepared before, too.
    client.send(&message(b'B', b"\0kept\0\0\0\0\0\0\0")).await;
    client.send(&message(b'E', b"\0\0\0\0\0")).await;
    client.send(&message(b'S', b"")).await;
    let reply = client.reply().await;
    assert_eq!(reply.rows, [[Some("3".to_owned())]], "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_and_the_catalog_are_there() {
    let served = serve(limits()).await;
    served.commit(0..2).await;
    let mut client = connect(served.pg).await;
    let functions: usize = client.value("SELECT count(*) FROM statistics_functions").await.parse().unwrap();
    assert!(functions > 30, "{functions}");
    let answer = client.rows("SELECT w['n'], round(w['conf_low'], 6) FROM (SELECT wilson(81, 263) AS w)").await;
    assert_eq!(answer, [[Some("263".to_owned()), Some("0.255289".to_owned())]]);
    let tables = client.rows("SELECT relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'public'").await;
    let tables: Vec<&str> = tables.iter().filter_map(|row| row[0].as_deref()).collect();
    assert!(tables.contains(&"readings") && tables.contains(&"segments"), "{tables:?}");
    let parts = client.value("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'parts'").await;
    assert_eq!(parts, "0", "what views are made of is not shown");
    assert!(client.value("SELECT version()").await.starts_with("PostgreSQL 16"));
    assert_eq!(client.value("SHOW standard_conforming_strings").await, "on");
}

/// psql looks a table up by its name and comes back with its number.
#[tokio::test(flavor = "multi_thread")]
async fn object_ids_stay_when_the_lake_changes() {
    let served = serve(limits()).await;
    let mut client = connect(served.pg).await;
    let ids = "SELECT relname, oid FROM pg_catalog.pg_class ORDER BY 1";
    let before = client.rows(ids).await;
    assert!(before.len() > 50, "{before:?}");
    for round in 0..3 {
        served.commit(round..round + 1).await;
        // the columns first, so that another order of questions numbers the tables
        client.rows("SELECT attname FROM pg_catalog.pg_attribute LIMIT 1").await;
        assert_eq!(client.rows(ids).await, before);
    }
    let columns = "SELECT attname FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON a.attrelid = c.oid WHERE relname = 'readings'";
    assert!(client.rows(columns).await.contains(&vec![Some("aac24_total".to_owned())]));
}

/// What is done to questions about the catalog is not done to those about readings.
#[tokio::test(flavor = "multi_thread")]
async fn subqueries_are_answered_and_not_taken_for_questions_about_the_catalog() {
    let served = serve(limits()).await;
    let mut client = connect(served.pg).await;
    let around =
        "SELECT a.value, (SELECT count(*) FROM range(2) b WHERE b.value = a.value) AS n FROM range(4) a ORDER BY 1";
    let rows = client.rows(around).await;
    let counted: Vec<&str> = rows.iter().filter_map(|row| row[1].as_deref()).collect();
    assert_eq!(counted, ["1", "1", "0", "0"]);
    let several = client.refused("SELECT (SELECT value FROM range(2)) AS v").await;
    assert!(several.message.contains("more than one row"), "{}", several.message);
    let unknown =
        client.refused("SELECT n, (SELECT x FROM nowhere r WHERE r.k = p.n LIMIT 1) FROM (SELECT 1 AS n) p").await;
    assert!(unknown.message.contains("nowhere"), "{}", unknown.message);
    // A catalog's subqueries are those of psql.
    let comment = "SELECT c.relname, (SELECT d.description FROM pg_catalog.pg_description d WHERE d.objoid = c.oid LIMIT 1) \
                   FROM pg_catalog.pg_class c WHERE c.relname = 'readings'";
    assert_eq!(client.rows(comment).await, [[Some("readings".to_owned()), None]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_written_and_nothing_outside_be_read() {
    let served = serve(limits()).await;
    served.commit(0..1).await;
    let mut client = connect(served.pg).await;
    for (sql, code) in [
        ("DROP TABLE readings", "25006"),
        ("CREATE TABLE t AS SELECT 1", "25006"),
        ("INSERT INTO instances SELECT * FROM instances", "25006"),
        ("COPY readings TO '/tmp/readings.csv'", "25006"),
        ("EXPLAIN ANALYZE INSERT INTO instances SELECT * FROM instances", "25006"),
        ("SELECT 1 INTO t", "25006"),
        ("SET datafusion.catalog.create_default_catalog_and_schema = true", "42000"),
        ("SELECT * FROM '/etc/passwd'", "42000"),
        ("SELECT * FROM parts.items", "42000"),
        ("SELECT * FROM sources", "42000"),
        ("DECLARE c CURSOR FOR SELECT * FROM nothing", "42000"),
    ] {
        let refused = client.refused(sql).await;
        assert_eq!((refused.severity.as_str(), refused.code.as_str()), ("ERROR", code), "{sql}: {}", refused.message);
    }
    assert_eq!(client.value("SELECT count(*) FROM readings").await, "1");
    assert_eq!(served.queries("read_only"), 1.0, "only SELECT INTO had to be planned to be known");
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_gone_through_the_motions_of() {
    let served = serve(limits()).await;
    let mut client = connect(served.pg).await;
    assert_eq!(client.ask("BEGIN").await.status, Some(b'T'));
    assert_eq!(client.ask("SELECT nothing").await.status, Some(b'E'));
    assert!(client.refused("SELECT 1").await.message.contains("ROLLBACK"));
    let reply = client.ask("COMMIT").await;
    assert_eq!((reply.tags.as_slice(), reply.status), (&["ROLLBACK".to_owned()][..], Some(b'I')));
    let reply = client.ask("BEGIN; SELECT 1; COMMIT").await;
    assert_eq!((reply.tags.len(), reply.status), (3, Some(b'I')));
    assert_eq!(client.ask("").await.kinds, "IZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_read_piece_by_piece() {
    let served = serve(limits()).await;
    let mut client = connect(served.pg).await;
    client.ask("BEGIN").await;
    assert_eq!(client.ask("DECLARE c CURSOR FOR SELECT value FROM range(1, 6)").await.failed, None);
    let piece = client.ask("FETCH FORWARD 2 FROM c").await;
    assert_eq!((piece.rows.len(), piece.tags.as_slice()), (2, &["FETCH 2".to_owned()][..]));
    assert_eq!(client.rows("FETCH 2 FROM c").await.len(), 2);
    assert_eq!(client.rows("FETCH ALL FROM c").await, [[Some("5".to_owned())]]);
    assert_eq!(client.rows("FETCH ALL FROM c").await.len(), 0);
    assert_eq!(client.ask("COMMIT").await.failed, None);
    assert_eq!(client.refused("FETCH 1 FROM c").await.code, "26000");
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_take_values_and_give_pieces() {
    let served = serve(limits()).await;
    let mut client = connect(served.pg).await;
    let mut bind = b"\0\0\0\0\0\x01".to_vec();
    bind.extend(1i32.to_be_bytes());
    bind.extend(b"7\0\0");
    let execute = |rows: i32| message(b'E', &[&b"\0"[..], &rows.to_be_bytes()].concat());
    client.send(&message(b'P', b"\0SELECT value + $1::bigint AS v FROM range(1, 6)\0\0\0")).await;
    client.send(&message(b'B', &bind)).await;
    client.send(&message(b'D', b"P\0")).await;
    client.send(&execute(2)).await;
    client.send(&execute(i32::MAX)).await;
    client.send(&execute(0)).await;
    client.send(&message(b'S', b"")).await;
    let reply = client.reply().await;
    assert_eq!(reply.kinds, "12TDDsDDDCCZ", "{reply:?}");
    assert_eq!(reply.columns, ["v"]);
    assert_eq!(reply.rows[0], [Some("8".to_owned())]);
    // Formats for columns that are not there.
    client.send(&message(b'P', b"\0SELECT 1\0\0\0")).await;
    client.send(&message(b'B', b"\0\0\0\0\0\0\0\x03\0\0\0\0\0\0")).await;
    client.send(&execute(0)).await;
    client.send(&message(b'S', b"")).await;
    assert_eq!(client.reply().await.failed.unwrap().code, "08P01");
    assert_eq!(client.value("SELECT 1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_called_off() {
    let served = serve(limits()).await;
    let mut client = connect(served.pg).await;
    let (pid, key) = (client.pid, client.key);
    client.send(&message(b'Q', b"SELECT sum(a.value * b.value) FROM range(10000000) a, range(10000000) b\0")).await;
    let cancel = |key: i32| {
        [&16i32.to_be_bytes()[..], &80_877_102i32.to_be_bytes(), &pid.to_be_bytes(), &key.to_be_bytes()].concat()
    };
    // Another key does nothing.
    for key in [key ^ 1, key] {
        let mut other = TcpStream::connect(served.pg).await.unwrap();
        loop {
            other.write_all(&cancel(key)).await.unwrap();
            assert_eq!(other.read(&mut [0]).await.unwrap_or(0), 0);
            if key != client.key {
                break;
            }
            // The request may come before the query does.
            match tokio::time::timeout(Duration::from_millis(100), client.reply()).await {
                Ok(reply) => {
                    let failed = reply.failed.unwrap();
                    assert_eq!((failed.code.as_str(), reply.status), ("57014", Some(b'I')));
                    assert!(failed.message.contains("as the client asked"), "{}", failed.message);
                    break;
                }
                Err(_) => other = TcpStream::connect(served.pg).await.unwrap(),
            }
        }
    }
    assert_eq!(client.value("SELECT 1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_logged_in_is_answered_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    set_password(&path, "anna", Role::Row, "correct horse").unwrap();
    let served = serve_to(limits(), Some(Users::read(&path).unwrap()), None).await;
    let hello = startup(&[("user", "anna")]);
    let query = message(b'Q', b"SELECT 1\0");
    let sasl = |mechanism: &str, data: &[u8]| {
        message(b'p', &[mechanism.as_bytes(), b"\0", &(data.len() as i32).to_be_bytes(), data].concat())
    };
    let first = sasl("SCRAM-SHA-256", b"n,,n=,r=abcdefgh");
    for (name, messages) in [
        ("nothing", vec![query.clone()]),
        ("an empty password", vec![message(b'p', b"\0"), query.clone()]),
        ("a password in plain", vec![message(b'p', b"correct horse\0"), query.clone()]),
        ("another mechanism", vec![sasl("PLAIN", b"\0anna\0correct horse"), query.clone()]),
        ("no data", vec![message(b'p', b"SCRAM-SHA-256\0\xff\xff\xff\xff"), query.clone()]),
        ("no proof", vec![first.clone(), query.clone()]),
        ("a wrong proof", vec![first.clone(), message(b'p', b"c=biws,r=abcdefgh,p=AAAA"), query.clone()]),
        ("no text", vec![first.clone(), message(b'p', b"\xff\xfe"), query.clone()]),
        ("a second startup", vec![hello.clone(), query.clone()]),
    ] {
        let mut client = Client { stream: TcpStream::connect(served.pg).await.unwrap(), pid: 0, key: 0 };
        client.send(&hello).await;
        for message in messages {
            // The server may have closed by now.
            let _ = client.stream.write_all(&message).await;
        }
        let reply = client.reply().await;
        assert_eq!(reply.status, None, "{name}: {reply:?}");
        assert!(!reply.kinds.contains(['D', 'T', 'C']), "{name}: {reply:?}");
        let failed = reply.failed.unwrap_or_else(|| panic!("{name}: nothing was said"));
        assert_eq!(failed.severity, "FATAL", "{name}");
        assert!(!failed.message.contains("horse"), "{name}: {failed:?}");
    }
    let bare = log_in(TcpStream::connect(served.pg).await.unwrap(), &[]).await.err().unwrap();
    assert!(bare.message.contains("user"), "{bare:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_nothing_goes_unencrypted() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let served = serve_to(limits(), None, Some(Identity { certificate: certificate.clone(), key })).await;

    let plain = try_connect(served.pg).await.err().unwrap();
    assert_eq!((plain.severity.as_str(), plain.code.as_str()), ("FATAL", "28000"));
    assert!(plain.message.contains("sslmode=require"), "{}", plain.message);

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let wants_tls = [8i32.to_be_bytes(), 80_877_103i32.to_be_bytes()].concat();
    let localhost = || ServerName::try_from("localhost").unwrap();

    let mut stream = TcpStream::connect(served.pg).await.unwrap();
    stream.write_all(&wants_tls).await.unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, *b"S");
    let secure = connector.connect(localhost(), stream).await.unwrap();
    let mut client = log_in(secure, &[("user", "anna")]).await.unwrap();
    assert_eq!(client.value("SELECT 40 + 2").await, "42");

    // What was put before TLS by someone on the way must not be taken as said within it.
    let mut stream = TcpStream::connect(served.pg).await.unwrap();
    stream.write_all(&[wants_tls, startup(&[("user", "eve")]), message(b'Q', b"SELECT 1\0")].concat()).await.unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert!(connector.connect(localhost(), stream).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_says_so_and_finishes() {
    let mut served = serve(limits()).await;
    let mut idle = connect(served.pg).await;
    served.stop.cancel();
    let reply = idle.reply().await;
    assert_eq!(reply.failed.unwrap().code, "57P01");
    tokio::time::timeout(Duration::from_secs(60), &mut served.running).await.expect("it ends").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_are_told_by_name() {
    let rows = serve(Limits { rows: Some(100), ..limits() }).await;
    let mut client = connect(rows.pg).await;
    assert_eq!(client.rows("SELECT * FROM range(100)").await.len(), 100);
    let many = client.refused("SELECT * FROM range(101)").await;
    assert!(many.code == "54000" && many.message.contains("100 rows"), "{many:?}");
    client.ask("SET statement_timeout = '50ms'").await;
    let late = client.refused("SELECT sum(a.value * b.value) FROM range(10000000) a, range(10000000) b").await;
    assert!(late.code == "57014" && late.message.contains("0.05 s"), "{late:?}");
    let long = client.refused(&format!("SELECT {}1", " ".repeat(200_000))).await;
    assert!(long.code == "54000" && long.message.contains("bytes"), "{long:?}");
    assert_eq!((rows.queries("rows"), rows.queries("time")), (1.0, 1.0));
}
