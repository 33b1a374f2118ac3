"""Writes a row every second to a SQLite database in write-ahead mode, or counts them."""

import sqlite3
import sys
import time

arguments = sys.argv[1:]
if arguments[0] == "--count":
    rows, newest = sqlite3.connect(arguments[1]).execute("SELECT count(*), max(at) FROM visits").fetchone()
    print(f"{rows} rows, the newest of {newest}")
    sys.exit()

database = sqlite3.connect(arguments[0])
database.execute("PRAGMA journal_mode=wal")
database.execute("CREATE TABLE IF NOT EXISTS visits (id INTEGER PRIMARY KEY, at TEXT)")
while True:
    with database:
        database.execute("INSERT INTO visits (at) VALUES (datetime('now'))")
    time.sleep(1)
