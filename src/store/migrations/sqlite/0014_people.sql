-- Who uses the dashboard, as seen at their last login. Of single sign-on also the role, which only the reverse proxy knows.
create table people (
    name text primary key,
    source text not null, -- 'shared', 'file', 'header'
    email text,
    role text, -- null where no group has a role any more
    login_at integer not null,
    seen_at integer not null
) strict, without rowid;

-- Access tokens of scripts.
create table access_tokens (
    id text primary key, -- UUID
    hash text not null unique, -- SHA-256 of the token: a backup logs no one in
    label text not null,
    owner text not null,
    source text not null, -- where the owner came from
    role text not null,
    created_at integer not null,
    expires_at integer not null,
    used_at integer
) strict, without rowid;

create index access_tokens_by_owner on access_tokens (owner);
