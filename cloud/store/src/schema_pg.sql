-- What PostgreSQL needs beside schema.sql.

-- Compressed already; kept beside the rows, so that these stay small.
ALTER TABLE chunks ALTER COLUMN blob SET STORAGE EXTERNAL;
ALTER TABLE frames ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- The program makes sure of these itself; checked row by row they would be half the cost of storing.
ALTER TABLE chunks DROP CONSTRAINT chunks_series_fkey;
ALTER TABLE last_values DROP CONSTRAINT last_values_series_fkey;
ALTER TABLE frames DROP CONSTRAINT frames_rank_fkey;
ALTER TABLE frames DROP CONSTRAINT frames_schema_fkey;
ALTER TABLE marks DROP CONSTRAINT marks_rank_fkey;

CREATE FUNCTION log_is_never_changed() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the log is append-only'; END $$;
CREATE TRIGGER log_is_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON log
FOR EACH STATEMENT EXECUTE FUNCTION log_is_never_changed();
