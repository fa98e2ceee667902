-- The three databases and their owners, on one Postgres server: `mail` is the warehouse, `mail_control` holds accounts and
-- credentials, `dagster` what Dagster remembers. For psql, as a superuser; running it again sets the passwords anew, and
-- changes nothing else. The passwords are read from the environment, so they stand in no command line.
\set ON_ERROR_STOP on
\getenv loader_password MAIL_INGEST_LOADER_PASSWORD
\getenv control_password MAIL_INGEST_CONTROL_PASSWORD
\getenv dagster_password DAGSTER_PASSWORD

select 'create role ' || name from unnest(array['mail_ingest_control', 'dagster']) as wanted (name)
where not exists (select from pg_roles where rolname = name)
\gexec
alter role mail_ingest_control login nosuperuser password :'control_password';
alter role dagster login nosuperuser password :'dagster_password';

-- in a locale that knows letters beyond ASCII, whatever the server's own is
select
    'create database ' || name || coalesce(' owner ' || owner, '') || ' template template0 encoding ''UTF8'' locale ''C.UTF-8'''
from (values ('mail', null), ('mail_control', 'mail_ingest_control'), ('dagster', 'dagster')) as wanted (name, owner)
where not exists (select from pg_database where datname = name)
\gexec

\connect mail
\ir ../../sql/roles.postgres.sql
alter role mail_ingest_loader login password :'loader_password';
