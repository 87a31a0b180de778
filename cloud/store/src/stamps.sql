-- When the rows of chunks were taken and where they stand, once for all chunks of which it is the same. A chunk without any
-- has its own in its blob.
CREATE TABLE stamps (
    id INTEGER PRIMARY KEY,
    blob BLOB NOT NULL
) STRICT;
ALTER TABLE chunks ADD COLUMN stamps INTEGER;
CREATE INDEX chunks_by_stamps ON chunks (stamps) WHERE stamps IS NOT NULL;

-- With the samples (or buckets) in them: those that make a large one are merged, however many they are.
DROP INDEX chunks_small;
CREATE INDEX chunks_small ON chunks (series, level, class, n) WHERE class < 9;
