-- The most important class of points that lost samples, as JSON; none: any did.
ALTER TABLE gaps ADD COLUMN class TEXT;
