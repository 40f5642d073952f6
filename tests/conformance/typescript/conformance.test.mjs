// The official TypeScript client, from creating an index to querying with filters.

import strict from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Server, counts } from './server.mjs';

const counting = (check) => (...args) => {
  counts.assertions += 1;
  return check(...args);
};
const equal = counting(strict.deepEqual);
const rejects = counting(strict.rejects);

const SPEC = { serverless: { cloud: 'aws', region: 'us-east-1' } };
const single = (values) => Array.from(Float32Array.from(values));

let server;
before(async () => {
  server = await Server.start();
});
after(async () => {
  equal(await server.stop(), 0);
  console.log(`conformance: ${counts.calls} calls of the SDK, ${counts.assertions} assertions`);
});

// Scenario: an index is created in the old shape, described, listed, protected and deleted.
// Guarantees: it is ready when create returns, has a host that the client can use, 403 while it is protected, 404 at the end.
test('an index from creation to deletion', async () => {
  const pc = server.client();
  const made = await pc.createIndex({ name: 'movies', dimension: 3, metric: 'euclidean', spec: SPEC, waitUntilReady: true });
  const { type, dimension, metric } = made.schema.fields._values;
  equal([type, dimension, metric], ['dense_vector', 3, 'euclidean']);
  equal(made.status, { ready: true, state: 'Ready' });
  equal(made.host.startsWith('http://127.0.0.1:'), true);
  equal((await pc.listIndexes()).indexes.map((index) => index.name), ['movies']);
  await rejects(pc.createIndex({ name: 'movies', dimension: 3, metric: 'cosine', spec: SPEC }), /Resource already exists/);
  await pc.configureIndex({ name: 'movies', deletionProtection: 'enabled', tags: { team: 'x' } });
  equal((await pc.describeIndex('movies')).tags, { team: 'x' });
  await rejects(pc.deleteIndex('movies'), /Deletion protection is enabled for this index/);
  await pc.configureIndex({ name: 'movies', deletionProtection: 'disabled' });
  await pc.deleteIndex('movies');
  await rejects(pc.describeIndex('movies'), { name: 'PineconeNotFoundError' });
});

// Scenario: records of every kind of metadata are written by the index's name, and read in every way.
// Guarantees: floats, types and texts come back as they were; filters and scores hold; pages join to all ids.
test('records by the name of their index', async () => {
  const pc = server.client();
  await pc.createIndex({ name: 'films', dimension: 3, metric: 'dotproduct', spec: SPEC, waitUntilReady: true });
  const films = pc.index({ name: 'films' }).namespace('n');
  const records = Array.from({ length: 10 }, (_, row) => ({
    id: `r${row}`,
    values: [1, row / 10, 0.5],
    metadata: { row, kind: row % 2 ? 'odd' : 'even', yes: row > 4, list: ['a', `naïve ${row}`] },
  }));
  records[3].sparseValues = { indices: [14, 4294967295], values: [0.5, -1.25] };
  await films.upsert({ records });

  const fetched = await films.fetch({ ids: records.map((record) => record.id) });
  equal(Object.keys(fetched.records).length, 10);
  for (const record of records) {
    const found = fetched.records[record.id];
    equal(single(found.values), single(record.values));
    equal(found.metadata, record.metadata);
    equal(found.sparseValues, record.sparseValues);
  }
  const asked = { vector: [0, 1, 0], topK: 2, filter: { $and: [{ kind: { $eq: 'odd' } }, { row: { $lt: 9 } }] } };
  const found = await films.query({ ...asked, includeMetadata: true });
  equal(found.matches.map((match) => [match.id, match.metadata.row]), [['r7', 7], ['r5', 5]]);
  equal(single(found.matches.map((match) => match.score)), single([0.7, 0.5]));
  equal((await films.query({ id: 'r3', topK: 1 })).matches.length, 1);

  const ids = [];
  let paginationToken;
  do {
    const page = await films.listPaginated({ prefix: 'r', limit: 3, paginationToken });
    ids.push(...page.vectors.map((item) => item.id));
    paginationToken = page.pagination?.next;
  } while (paginationToken);
  equal(ids, records.map((record) => record.id));

  await films.update({ id: 'r0', values: [9, 9, 9], metadata: { kind: 'changed' } });
  const changed = (await films.fetch({ ids: ['r0'] })).records.r0;
  equal([changed.values, changed.metadata.kind, changed.metadata.row], [[9, 9, 9], 'changed', 0]);
  const odd = await films.fetchByMetadata({ filter: { kind: 'odd' }, limit: 100 });
  equal(Object.keys(odd.records).sort(), ['r1', 'r3', 'r5', 'r7', 'r9']);
  await films.deleteOne({ id: 'r0' });
  await films.deleteMany({ filter: { kind: 'odd' } });
  const stats = await films.describeIndexStats();
  equal([stats.dimension, stats.totalRecordCount, stats.namespaces], [3, 4, { n: { recordCount: 4 } }]);
  await films.deleteAll();
  equal((await films.describeIndexStats()).totalRecordCount, 0);
});

// Scenario: a sparse index in the shape of 2026-07, and what breaks its rules and those of a dense one.
// Guarantees: sparse questions rank exactly; the service's words reach the user.
test('schemas and rules', async () => {
  const pc = server.client();
  const deployment = { deploymentType: 'managed', cloud: 'aws', region: 'us-east-1' };
  const schema = { fields: { _sparse_values: { type: 'sparse_vector' } } };
  await pc.createIndex({ name: 'words', schema, deployment, waitUntilReady: true });
  const words = pc.index({ name: 'words' });
  await words.upsert({
    records: [
      { id: 'a', sparseValues: { indices: [1, 5], values: [1, 0.5] } },
      { id: 'b', sparseValues: { indices: [5], values: [2] } },
    ],
  });
  const found = await words.query({ sparseVector: { indices: [5], values: [2] }, topK: 5 });
  equal(found.matches.map((match) => [match.id, match.score]), [['b', 4], ['a', 1]]);
  await rejects(words.upsert({ records: [{ id: 'c', values: [1] }] }), /does not support dense values/);

  await pc.createIndex({ name: 'dense', dimension: 2, metric: 'cosine', spec: SPEC, waitUntilReady: true });
  const dense = pc.index({ name: 'dense' });
  await rejects(
    dense.upsert({ records: [{ id: 'a', values: [1, 2, 3] }] }),
    /Vector dimension 3 does not match the dimension of the index 2/,
  );
  await rejects(
    dense.upsert({ records: [{ id: 'a', values: [1, 2], metadata: { $x: 1 } }] }),
    /Metadata field '\$x' cannot start with '\$'/,
  );
});

// Scenario: a server that checks keys is asked with another one.
// Guarantees: the client's own error for a wrong key.
test('a wrong key', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vecload-key-'));
  const key = join(folder, 'key');
  await writeFile(key, 'right');
  const guarded = await Server.start('--api-key-file', key);
  await rejects(guarded.client('wrong').listIndexes(), { name: 'PineconeAuthorizationError' });
  equal((await guarded.client('right').listIndexes()).indexes, []);
  equal(await guarded.stop(), 0);
  await rm(folder, { recursive: true });
});
