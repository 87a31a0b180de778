-- The most important class of points that lost samples, as JSON; none: any did. And the sequences lost, as JSON, where not all from
-- first to last are.
ALTER TABLE gaps ADD COLUMN class TEXT;
ALTER TABLE gaps ADD COLUMN lost TEXT;
CREATE INDEX gaps_lost ON gaps (rank) WHERE lost IS NOT NULL;
