-- Who may come in and what they may do there. Secrets are stored as hashes only; what happened to all of this is in tasker_audit.

create table tasker_account (
  account_id     int generated always as identity primary key,
  name           text not null check (length(name) between 1 and 100),
  password_hash  text,                      -- argon2id; null: signs in by another method only
  outside_id     text unique,               -- who this is at a sign-in provider: its issuer and its subject
  totp_secret    text,                      -- null: no second factor
  totp_last      bigint not null default 0, -- the period of the last code that was taken, so that none counts twice
  disabled       boolean not null default false,
  created_at     timestamptz not null,
  created_by     text,
  signed_in_at   timestamptz,
  zone           text                       -- in which times are shown; null: the browser's
);
create unique index tasker_account_name on tasker_account (lower(name));

-- Bundles of permissions beside those that are built in (engine/access/permissions.py).
create table tasker_role (
  role         text primary key check (length(role) between 1 and 100),
  permissions  text[] not null
);

create table tasker_grant (
  account_id  int not null references tasker_account,
  role        text not null,
  namespace   text,                         -- null: in all of them
  unique nulls not distinct (account_id, role, namespace)
);

create table tasker_session (
  session_hash  bytea primary key check (octet_length(session_hash) = 32),
  session_id    int generated always as identity unique,   -- by which it is listed and ended
  account_id    int not null references tasker_account,
  method        text not null,              -- how its owner signed in
  half          boolean not null default false,   -- the password was right, the second factor is still to come
  started_at    timestamptz not null,
  seen_at       timestamptz not null,       -- exact to a minute
  address       text,
  browser       text
);
create index tasker_session_account on tasker_session (account_id);

create table tasker_token (
  token_id     text primary key,            -- stands in the token in clear, so that it is found without comparing secrets
  secret_hash  bytea not null check (octet_length(secret_hash) = 32),
  account_id   int not null references tasker_account,
  label        text not null check (length(label) between 1 and 100),
  scopes       text[],                      -- null: whatever its owner may
  namespace    text,                        -- null: wherever its owner may
  created_at   timestamptz not null,
  created_by   text,
  expires_at   timestamptz not null,
  used_at      timestamptz,                 -- exact to a minute
  revoked_at   timestamptz
);
create index tasker_token_account on tasker_token (account_id);

create table tasker_sign_in_link (
  link_hash   bytea primary key check (octet_length(link_hash) = 32),
  account_id  int not null references tasker_account,
  expires_at  timestamptz not null
);

-- Tries to sign in, by which they are slowed down; kept for a month.
create table tasker_sign_in (
  sign_in_no  bigint generated always as identity primary key,
  name        text not null,                -- as it was typed, in lower case; there need be no such account
  address     text not null,
  at          timestamptz not null,
  outcome     text not null check (outcome in ('failed', 'half', 'done'))   -- half: the password was right, the second factor is still to come
);
create index tasker_sign_in_name on tasker_sign_in (name, at);
create index tasker_sign_in_address on tasker_sign_in (address, at);

-- Who did what, when, from where, to which object, why. Only ever added to.
create table tasker_audit (
  audit_no   bigint generated always as identity primary key,
  at         timestamptz not null,
  actor      text not null,
  action     text not null,                 -- a permission such as tasker.task:retry, or sign_in, sign_out
  outcome    text not null check (outcome in ('done', 'refused', 'denied')),   -- denied: for want of a right, or of the right password
  namespace  text,
  object     text,                          -- such as task 0198..., account ada
  reason     text,
  address    text,
  detail     jsonb
);
create index tasker_audit_at on tasker_audit (at);
create index tasker_audit_actor on tasker_audit (actor, audit_no);
-- needs: tasker_refuse_change
create trigger tasker_audit_is_kept before update or delete on tasker_audit for each row execute function tasker_refuse_change();
create trigger tasker_audit_is_not_emptied before truncate on tasker_audit for each statement execute function tasker_refuse_change();
