-- What a point was when a sample of it came first, or when the configuration had it last; and since when, UTC us, no schema of
-- its twin has it. None of what was stored before, until a schema leaves it out.
ALTER TABLE series ADD COLUMN unit TEXT;
ALTER TABLE series ADD COLUMN value_type TEXT;
ALTER TABLE series ADD COLUMN gone_us INTEGER;
