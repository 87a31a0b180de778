CREATE TABLE gateways (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    gateway TEXT NOT NULL,
    secret BLOB,
    secret_us INTEGER,
    last_us INTEGER,
    UNIQUE (tenant, gateway)
) STRICT;

-- A rank is never given twice, hence AUTOINCREMENT.
CREATE TABLE incarnations (
    rank INTEGER PRIMARY KEY AUTOINCREMENT,
    incarnation BLOB NOT NULL UNIQUE,
    gateway INTEGER NOT NULL REFERENCES gateways (id),
    seen_us INTEGER NOT NULL
) STRICT;

-- Accepted sequences as closed intervals: sorted, disjoint, not adjacent.
CREATE TABLE marks (
    rank INTEGER NOT NULL REFERENCES incarnations (rank),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (rank, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE schemas (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    json BLOB NOT NULL,
    stored_us INTEGER NOT NULL
) STRICT;

-- Accepted and not compacted, as received.
CREATE TABLE frames (
    id INTEGER PRIMARY KEY,
    rank INTEGER NOT NULL REFERENCES incarnations (rank),
    seq INTEGER NOT NULL,
    schema INTEGER NOT NULL REFERENCES schemas (id),
    kind INTEGER NOT NULL,
    received_us INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    UNIQUE (rank, seq)
) STRICT;

CREATE TABLE twins (
    twin TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    asset TEXT NOT NULL,
    description TEXT NOT NULL,
    points TEXT NOT NULL,
    schema_rank INTEGER NOT NULL,
    desired_version INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, twin)
) STRICT, WITHOUT ROWID;

-- Which device feeds which twin; frames of a rank in from_rank..to_rank apply to the live state.
CREATE TABLE bindings (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    twin TEXT NOT NULL,
    gateway INTEGER NOT NULL REFERENCES gateways (id),
    device TEXT NOT NULL,
    from_us INTEGER NOT NULL,
    to_us INTEGER,
    from_rank INTEGER NOT NULL,
    to_rank INTEGER,
    FOREIGN KEY (tenant, twin) REFERENCES twins (tenant, twin)
) STRICT;
CREATE INDEX bindings_by_twin ON bindings (twin, gateway);
CREATE UNIQUE INDEX bindings_open_twin ON bindings (twin) WHERE to_us IS NULL;
CREATE UNIQUE INDEX bindings_open_device ON bindings (gateway, device) WHERE to_us IS NULL;

-- A point of a twin as a number: history is kept under it.
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    twin TEXT NOT NULL,
    point TEXT NOT NULL,
    UNIQUE (tenant, twin, point)
) STRICT;

CREATE TABLE last_values (
    series INTEGER PRIMARY KEY REFERENCES series (id),
    rank INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    blob BLOB NOT NULL
) STRICT;

-- level 0: samples; 1..6: roll-ups. class 0..8: small, waiting to be merged; 9: sealed; 10: sealed, but its
-- samples were removed by retention. rolled: the finest level that holds roll-ups of a sealed chunk of samples.
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL REFERENCES series (id),
    level INTEGER NOT NULL,
    class INTEGER NOT NULL,
    t_min INTEGER NOT NULL,
    t_max INTEGER NOT NULL,
    n INTEGER NOT NULL,
    rolled INTEGER NOT NULL,
    first_rank INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    blob BLOB NOT NULL
) STRICT;
CREATE INDEX chunks_by_time ON chunks (series, level, t_min, t_max, n, class, rolled);
CREATE INDEX chunks_small ON chunks (series, level, class) WHERE class < 9;
CREATE INDEX chunks_old ON chunks (t_max) WHERE level = 0 AND class = 9;

CREATE TABLE desired (
    tenant TEXT NOT NULL,
    twin TEXT NOT NULL,
    point TEXT NOT NULL,
    version INTEGER NOT NULL,
    rank INTEGER NOT NULL DEFAULT 0,
    seq INTEGER NOT NULL DEFAULT 0,
    view TEXT NOT NULL,
    PRIMARY KEY (twin, point),
    FOREIGN KEY (tenant, twin) REFERENCES twins (tenant, twin)
) STRICT, WITHOUT ROWID;

CREATE TABLE commands (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    twin TEXT NOT NULL,
    state TEXT NOT NULL,
    sort_us INTEGER NOT NULL,
    view TEXT NOT NULL,
    FOREIGN KEY (tenant, twin) REFERENCES twins (tenant, twin)
) STRICT, WITHOUT ROWID;
CREATE INDEX commands_by_time ON commands (sort_us, id);
CREATE INDEX commands_by_twin ON commands (twin, sort_us, id);
CREATE INDEX commands_open ON commands (state) WHERE state IN ('accepted', 'sent', 'executing');

CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    requester TEXT NOT NULL,
    key TEXT NOT NULL,
    request BLOB NOT NULL,
    command TEXT NOT NULL REFERENCES commands (id),
    stored_us INTEGER NOT NULL,
    PRIMARY KEY (requester, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_time ON idempotency (stored_us);

-- Audit and events. sort_us is the entry's time, but never later than when it was stored.
CREATE TABLE log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    gateway INTEGER REFERENCES gateways (id),
    kind TEXT NOT NULL,
    sort_us INTEGER NOT NULL,
    severity INTEGER NOT NULL,
    twin TEXT,
    entry TEXT NOT NULL
) STRICT;
CREATE INDEX log_by_time ON log (sort_us, id, severity);
CREATE INDEX log_by_twin ON log (twin, sort_us, id) WHERE twin IS NOT NULL;
CREATE TRIGGER log_is_never_changed BEFORE UPDATE ON log
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_is_never_deleted BEFORE DELETE ON log
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;

CREATE TABLE users (
    tenant TEXT NOT NULL DEFAULT 'default',
    name TEXT PRIMARY KEY,
    password TEXT NOT NULL,
    grants TEXT NOT NULL,
    created_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    token BLOB PRIMARY KEY,
    user TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    expires_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user);
CREATE INDEX sessions_by_end ON sessions (expires_us);

CREATE TABLE keys (
    tenant TEXT NOT NULL DEFAULT 'default',
    name TEXT PRIMARY KEY,
    token BLOB NOT NULL UNIQUE,
    grants TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER
) STRICT, WITHOUT ROWID;
