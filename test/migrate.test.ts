import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { expect, inject, it } from 'vitest';
import { migrate } from '../src/migrate.ts';

it('goes on after a migration that was interrupted', async () => {
  const url = new URL(inject('services').databaseUrl);
  const server = new pg.Client({ connectionString: url.href });
  await server.connect();
  url.pathname = `interrupted_${randomUUID().replaceAll('-', '')}`;
  await server.query(`create database ${url.pathname.slice(1)}`);
  const applied = await migrate(url.href);
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  const { rows } = await client.query(
    'select migration_name, finished_at is not null as finished from _prisma_migrations order by 1',
  );
  expect(rows).toEqual(applied.map((migration_name) => ({ migration_name, finished: true })));

  // As a kill leaves it: the note is there, and what it is about was rolled back.
  await client.query('drop schema public cascade; create schema public');
  await client.query(`create table _prisma_migrations (id varchar(36) primary key, checksum varchar(64) not null, finished_at timestamptz,
    migration_name varchar(255) not null, logs text, rolled_back_at timestamptz, started_at timestamptz not null default now(), applied_steps_count int not null default 0)`);
  await client.query(`insert into _prisma_migrations (id, checksum, migration_name) values ('1', 'x', $1)`, [
    applied[0],
  ]);
  expect(await migrate(url.href)).toEqual(applied);
  expect(await migrate(url.href)).toEqual([]);
  await client.end();
  await server.end();
});
