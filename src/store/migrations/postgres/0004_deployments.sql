-- What the proxy does not tell of its deployments.
create table deployments (
    id text collate "C" primary key,
    name text collate "C" not null,
    refs text not null default '{}', -- parameters given by reference, as JSON
    ghost text, -- what was sent, without secrets, where the proxy has saved it and does not serve it
    ghost_why text,
    tested_at bigint,
    tested_by text,
    test_ok bigint,
    test_ms double precision,
    test_model text,
    test_text text
);

create index deployments_ghosts on deployments (id) where ghost is not null;
