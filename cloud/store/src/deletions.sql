-- What a person had deleted of a point's history: it is shown as a gap.
CREATE TABLE deletions (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL REFERENCES series (id),
    from_us INTEGER NOT NULL,
    to_us INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    at_us INTEGER NOT NULL
) STRICT;
CREATE INDEX deletions_by_series ON deletions (series);
