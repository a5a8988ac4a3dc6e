-- Forms that make a key, by their token: sent a second time, none makes a second key.
create table key_requests (
    token text primary key,
    hash text, -- of the key that was made; null while that runs, or where its end is not known
    at integer not null
) strict, without rowid;
