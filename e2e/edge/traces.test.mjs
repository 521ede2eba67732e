// OpenTelemetry traces: what a collector gets, read by OpenTelemetry's own definition of it.
// parts: python

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { connect } from '../lib/clients.mjs';
import { collector, spans } from '../lib/collector.mjs';
import { claims, secret, token } from '../lib/credentials.mjs';
import { BINARY, cleanEnvironment, omnivox } from '../lib/omnivox.mjs';
import { OPEN } from '../lib/settings.mjs';

const SERVER = 2;
const PRODUCER = 4;
const INTERNAL = 1;
const FAILED = 2;

const traced = (url, more = '') => `[traces]\nendpoint = "${url}"\nbatch_pause_ms = 20\n${more}\n`;
const HEX = { trace: /^[0-9a-f]{32}$/, id: /^[0-9a-f]{16}$/ };

/// Each span, held against what every span must be.
function checked(found) {
  for (const span of found) {
    assert.match(span.trace, HEX.trace);
    assert.match(span.id, HEX.id);
    assert.ok(span.parent === '' || HEX.id.test(span.parent), span.parent);
    assert.ok(span.start > 1.7e18 && span.end >= span.start && span.end < span.start + 60e9, `${span.name}: ${span.start} to ${span.end}`);
    assert.equal(span.scope, 'omnivox');
    assert.match(span.resource['service.version'], /^\d+\.\d+\.\d+$/);
    assert.match(span.resource['service.instance.id'], HEX.id);
  }
  assert.equal(new Set(found.map(({ id }) => id)).size, found.length, 'no span twice');
  return found;
}

test('a request is a trace: its own span and one for each command', async (t) => {
  const to = await collector(t);
  const settings = `${OPEN}${traced(to.url, 'headers = ["authorization=Bearer hunter2", "x-tenant=shop"]\nresource = ["service.name=chat", "deployment.environment=test"]')}`;
  const server = await omnivox(t, { settings });
  const caller = { trace: '4bf92f3577b34da6a3ce929d0e0e4736', id: '00f067aa0ba902b7' };
  await server.post('/v1/publish', { channel: 'news', data: 'hunter3' }, { traceparent: `00-${caller.trace}-${caller.id}-01` });
  await server.post('/v1/publish', { channel: 'news', data: 'hunter3' });
  await server.post('/v1/publish', { channel: 'news', data: 'hunter3' }, { traceparent: `00-${'1'.repeat(32)}-${caller.id}-00` });
  await server.get('/health');
  await server.stop();
  for (const { method, url, headers } of to.requests) {
    assert.deepEqual([method, url, headers['content-type'], headers.authorization, headers['x-tenant']], ['POST', '/v1/traces', 'application/json', 'Bearer hunter2', 'shop']);
  }
  const found = checked(spans(to.requests));
  assert.deepEqual(found.map(({ name }) => name).sort(), ['POST /v1/publish', 'POST /v1/publish', 'connect', 'connect', 'publish', 'publish'], 'neither the one that its caller does not sample, nor the probe');
  assert.deepEqual([found[0].resource['service.name'], found[0].resource['deployment.environment']], ['chat', 'test']);
  for (const request of found.filter(({ kind }) => kind === SERVER)) {
    const { attributes } = request;
    assert.deepEqual(
      [attributes['http.request.method'], attributes['http.route'], attributes['http.response.status_code'], attributes['omnivox.dialect']],
      ['POST', '/v1/publish', 200, 'native'],
    );
    const below = found.filter(({ parent }) => parent === request.id);
    assert.deepEqual(below.map(({ name, kind, trace }) => [name, kind, trace]), [['connect', INTERNAL, request.trace], ['publish', PRODUCER, request.trace]]);
    assert.equal(below[0].attributes['omnivox.app'], 'demo');
    assert.deepEqual([below[1].attributes['messaging.destination.name'], below[1].attributes['messaging.message.body.size']], ['news', 9]);
    assert.ok(below.every(({ start, end }) => start >= request.start - 1e6 && end <= request.end + 1e6), 'within the request, as far as the clock tells');
  }
  const roots = found.filter(({ kind }) => kind === SERVER).map(({ trace, parent }) => `${trace === caller.trace} ${parent}`);
  assert.deepEqual(roots.sort(), ['false ', `true ${caller.id}`]);
  assert.doesNotMatch(to.requests.map(({ body }) => body).join(), /hunter/, 'no payload and no credential');
  assert.doesNotMatch(server.output, /hunter/);
});

test('what comes over a WebSocket is linked to the request that opened it, and a refusal is an error', async (t) => {
  const to = await collector(t);
  const key = secret();
  const settings = `
[server]
listen = ["127.0.0.1:0"]
[[app]]
id = "shop"
secret = "${key}"
${traced(to.url)}`;
  const server = await omnivox(t, { settings });
  const mine = token(key, claims({ channels: { 'chat:*': ['subscribe', 'publish'] } }));
  const socket = await connect(t, server.ws);
  const connected = await socket.call({ type: 'connect', token: mine });
  const refused = await socket.call({ type: 'subscribe', channel: 'private-boss' });
  await socket.call({ type: 'publish', channel: 'private-boss', data: 'hunter3' });
  const wrong = await connect(t, server.ws);
  await wrong.call({ type: 'connect', token: `${mine.slice(0, -6)}AAAAAA` });
  await server.stop();
  assert.equal(connected.type, 'connected', JSON.stringify(connected));
  assert.equal(refused.type, 'error', JSON.stringify(refused));
  const found = checked(spans(to.requests));
  const opened = found.filter(({ name }) => name === 'GET /v1/ws');
  assert.deepEqual(opened.map(({ attributes }) => attributes['http.response.status_code']), [101, 101]);
  // Before the socket opens it is asked whether no credential is enough.
  const asked = found.filter(({ parent }) => opened.some(({ id }) => id === parent));
  assert.deepEqual(asked.map(({ name, status, attributes }) => [name, status, attributes['omnivox.credential'], attributes['error.type']]), [['connect', 0, 'none', 'unauthorized'], ['connect', 0, 'none', 'unauthorized']]);
  const commands = found.filter((span) => span.kind !== SERVER && !asked.includes(span));
  assert.deepEqual(commands.map(({ name, status, message }) => `${name} ${status} ${message}`).sort(), ['connect 0 ', `connect ${FAILED} unauthorized`, `publish ${FAILED} forbidden`, `subscribe ${FAILED} forbidden`]);
  for (const { parent, links, trace } of commands) {
    assert.equal(parent, '');
    assert.equal(links.length, 1);
    const to = opened.find(({ id }) => id === links[0].id);
    assert.ok(to && to.trace === links[0].trace && trace !== to.trace, 'a trace of its own, with a link to the handshake');
  }
  assert.ok(new Set(commands.map(({ trace }) => trace)).size === commands.length);
  const everything = to.requests.map(({ body }) => body).join() + server.output;
  for (const hidden of [key, mine, mine.split('.')[2], 'hunter3']) assert.ok(!everything.includes(hidden));
});

test('a collector that is busy gets the batch again, and what it never takes is counted', async (t) => {
  const to = await collector(t, [{ status: 503, headers: { 'retry-after': '0' } }, {}, { text: '{"partialSuccess":{"rejectedSpans":"1","errorMessage":"no"}}' }, { status: 400 }]);
  const server = await omnivox(t, { settings: `${OPEN}${traced(to.url)}` });
  await server.post('/v1/publish', { channel: 'a', data: 1 });
  await to.came(2);
  assert.equal(to.requests[0].body, to.requests[1].body, 'the same batch again');
  await server.post('/v1/publish', { channel: 'a', data: 2 });
  await to.came(3);
  await server.post('/v1/publish', { channel: 'a', data: 3 });
  await to.came(4);
  const told = async () => Object.fromEntries((await server.get('/metrics')).text.split('\n').filter((line) => line.startsWith('omnivox_trace_')).map((line) => line.split(' ')));
  // The answers are counted a moment after they were given.
  let counted = await told();
  for (const since = Date.now(); Number(counted.omnivox_trace_spans_dropped_total) < 4 && Date.now() < since + 20_000;) counted = await told();
  assert.deepEqual(counted, { omnivox_trace_spans_exported_total: '5', omnivox_trace_spans_dropped_total: '4', omnivox_trace_export_failures_total: '2' });
});

test('OpenTelemetry\'s own variables switch traces on, the file wins, and a wrong setting is named', async (t) => {
  const to = await collector(t);
  const base = to.url.replace('/v1/traces', '');
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: base, OTEL_SERVICE_NAME: 'from-the-environment', OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Basic%20hunter2' };
  const server = await omnivox(t, { settings: OPEN, env });
  await server.post('/v1/publish', { channel: 'a', data: 1 });
  await server.stop();
  assert.equal(to.requests[0].headers.authorization, 'Basic hunter2');
  assert.equal(spans(to.requests)[0].resource['service.name'], 'from-the-environment');
  const silent = await omnivox(t, { settings: `${OPEN}[traces]\nsample_ratio = 0\n`, env });
  const before = to.requests.length;
  await silent.post('/v1/publish', { channel: 'a', data: 1 });
  await silent.stop();
  assert.equal(to.requests.length, before);
  const wrong = spawnSync(BINARY, ['check'], { env: cleanEnvironment({ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' }), encoding: 'utf8' });
  assert.match(wrong.stderr, /traces\.endpoint: this is no URL; write `https:/);
});
