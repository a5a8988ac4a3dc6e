-- What is being changed at the proxy: a row for as long as the audit does not tell of it yet.
create table writes (
    id text collate "C" primary key, -- UUID v7
    replica text not null,
    begun_at bigint not null,
    actor text not null,
    address text,
    action text not null,
    object text not null,
    detail text,
    request_id text
);
