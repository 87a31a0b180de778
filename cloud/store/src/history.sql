-- Only a part of a gateway's streams is read for the gaps of a range.
CREATE INDEX incarnations_by_gateway ON incarnations (gateway, rank);
CREATE INDEX marks_by_time ON marks (rank, first_us);
CREATE INDEX gaps_by_rank ON gaps (gateway, rank);

-- What retention removed of a point's history altogether, samples and roll-ups: from the earliest to the latest of it.
CREATE TABLE expired (
    series INTEGER PRIMARY KEY REFERENCES series (id),
    from_us INTEGER NOT NULL,
    to_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
