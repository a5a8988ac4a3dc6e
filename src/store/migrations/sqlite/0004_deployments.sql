-- What the proxy does not tell of its deployments.
create table deployments (
    id text primary key,
    name text not null,
    refs text not null default '{}', -- parameters given by reference, as JSON
    ghost text, -- what was sent, without secrets, where the proxy has saved it and does not serve it
    ghost_why text,
    tested_at integer,
    tested_by text,
    test_ok integer,
    test_ms real,
    test_model text,
    test_text text
) strict, without rowid;

create index deployments_ghosts on deployments (id) where ghost is not null;
