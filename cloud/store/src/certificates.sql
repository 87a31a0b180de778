-- Codes with which boxes enrol: of each the key that proofs are made with, and who used it.
CREATE TABLE enrolment_codes (
    id TEXT PRIMARY KEY,
    key BLOB NOT NULL,
    gateway INTEGER NOT NULL REFERENCES gateways (id),
    expires_us INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    used_by BLOB
) STRICT;

-- Certificates that were issued to boxes.
CREATE TABLE certificates (
    gateway INTEGER NOT NULL REFERENCES gateways (id),
    serial TEXT NOT NULL,
    key BLOB NOT NULL,
    issued_us INTEGER NOT NULL,
    not_after_us INTEGER NOT NULL,
    revoked_us INTEGER,
    PRIMARY KEY (gateway, serial)
) STRICT;
