-- Roles for a Postgres warehouse, each with the least that it needs. Run once as the owner of the database, connected to
-- it, before the first sync; running it again changes nothing.
--
-- mail_ingest_loader: what the product runs as. It makes the schemas gmail, mail_staging, mail, mail_build, mail_config,
--   mail_ingest and one gmail_staging_* per pipeline, and owns what is in them. It reads and writes nothing else,
--   temporary tables apart.
-- mail_ingest_reader: for people and dashboards. It reads the analyst tables of the schema mail, those to come included;
--   it sees neither the landing tables nor the staging ones, and writes nothing.
-- mail_ingest_restricted_reader: for people who may see some accounts. Its members read the same tables, and of those the
--   rows of accounts that `mail-ingest role grant` granted to them: none at first. The next sync, or that command, gives
--   the tables their row-level security, and only then opens them to this role.
--
-- None can log in until it is given a password (`alter role mail_ingest_loader login password '...'`), or is granted
-- to a role that can: `grant mail_ingest_reader to somebody`. Nobody should be in both kinds of readers: who is, could
-- `set role` to the one that sees everything.

do $$
begin
    if not exists (select from pg_roles where rolname = 'mail_ingest_loader') then
        create role mail_ingest_loader nologin nosuperuser nocreatedb nocreaterole;
    end if;
    if not exists (select from pg_roles where rolname = 'mail_ingest_reader') then
        create role mail_ingest_reader nologin nosuperuser nocreatedb nocreaterole;
    end if;
    if not exists (select from pg_roles where rolname = 'mail_ingest_restricted_reader') then
        create role mail_ingest_restricted_reader nologin nosuperuser nocreatedb nocreaterole;
    end if;
    -- nobody connects by default any more
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect, create, temporary on database %I to mail_ingest_loader', current_database());
    execute format(
        'grant connect on database %I to mail_ingest_reader, mail_ingest_restricted_reader', current_database()
    );
    -- to make a schema for the loader, and to set its default privileges, one has to be a member of it
    execute format('grant mail_ingest_loader to %I', current_user);
end
$$;

revoke create on schema public from public;

create schema if not exists mail authorization mail_ingest_loader;
grant usage on schema mail to mail_ingest_reader, mail_ingest_restricted_reader;
grant select on all tables in schema mail to mail_ingest_reader;
alter default privileges for role mail_ingest_loader in schema mail grant select on tables to mail_ingest_reader;
