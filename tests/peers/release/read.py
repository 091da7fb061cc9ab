"""Reads a release as a Python user does and holds it to its codebook: every table, types, values in the order of their labels.

    python3 tests/peers/release/read.py RELEASE

Needs the standard library only; where pandas and pyarrow are installed, the Parquet files are read too and held to the CSV files.
"""

import csv
import hashlib
import pathlib
import re
import sys

try:
    import pandas
except ImportError:
    pandas = None


def choices(row):
    """Codes with labels, in their order: `code, label | code, label`."""
    text = row["Choices, Calculations, OR Slider Labels"]
    return [tuple(part.split(", ", 1)) for part in text.split(" | ")] if text else []


def check_sums(release):
    lines = (release / "SHA256SUMS").read_text().splitlines()
    for line in lines:
        digest, path = line.split("  ", 1)
        assert hashlib.sha256((release / path).read_bytes()).hexdigest() == digest, path
    return len(lines)


def check_table(release, name, meanings):
    path = next(p for p in (release / folder / f"{name}.csv" for folder in ("tables", "rows")) if p.exists())
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [row["Variable / Field Name"] for row in meanings]
    assert rows and list(rows[0]) == columns, f"{name}: {list(rows[0]) if rows else 'no rows'} and {columns}"
    for meaning in meanings:
        column = meaning["Variable / Field Name"]
        codes = [code for code, _ in choices(meaning)]
        values = [row[column] for row in rows if row[column] != ""]
        if codes:
            assert set(values) <= set(codes), f"{name}.{column}: {set(values) - set(codes)} are no codes of {codes}"
            # bands ascend in the order of the codebook
            starts = [int(m.group()) for code in codes if (m := re.match(r"\d+", code))]
            assert starts == sorted(starts), f"{name}.{column}: {codes} are not in order"
        kind = meaning["Text Validation Type OR Show Slider Number"]
        read = {"integer": int, "number": float}.get(kind, str)
        [read(value) for value in values]
    for row in rows:
        if row.get("suppressed") == "true":
            told = [c for c in ("n", "estimate", "std_error", "conf_low", "conf_high") if row.get(c, "") != ""]
            assert not told, f"{name}: {row} is suppressed and has {told}"
    if pandas is not None:
        frame = pandas.read_parquet(path.with_suffix(".parquet"), dtype_backend="numpy_nullable")
        assert list(frame.columns) == columns and len(frame) == len(rows), f"{name}: Parquet and CSV differ"
        for meaning in (m for m in meanings if choices(m)):
            column = meaning["Variable / Field Name"]
            values = frame[column]
            texts = values.astype("string")
            if pandas.api.types.is_bool_dtype(values):
                texts = texts.str.lower()
            known = pandas.Categorical(texts.astype("string"), [code for code, _ in choices(meaning)], ordered=True)
            read = ["" if pandas.isna(value) else value for value in known]
            assert read == [row[column] for row in rows], f"{name}.{column}"
    return len(rows)


def main():
    release = pathlib.Path(sys.argv[1])
    files = check_sums(release)
    with open(release / "codebook.csv", newline="", encoding="utf-8") as file:
        book = list(csv.DictReader(file))
    assert len(book[0]) == 18, "a REDCap data dictionary has 18 columns"
    tables = {}
    for row in book:
        tables.setdefault(row["Form Name"], []).append(row)
    rows = {name: check_table(release, name, meanings) for name, meanings in tables.items()}
    with_pandas = "pandas too" if pandas is not None else "pandas is not installed: Parquet was not read"
    print(f"{files} files, {len(rows)} tables, {sum(rows.values())} rows read with labels in order ({with_pandas})")


main()
