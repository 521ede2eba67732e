// OpenTelemetry traces go on: what hooks are asked and webhooks are told carries the context of what led to it.
// parts: python

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HANG, backend, hook } from '../lib/backend.mjs';
import { connect } from '../lib/clients.mjs';
import { collector, spans } from '../lib/collector.mjs';
import { secret } from '../lib/credentials.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { receiver } from '../lib/receiver.mjs';
import { OPEN } from '../lib/settings.mjs';

const CLIENT = 3;
const PRODUCER = 4;
const FAILED = 2;
const CALLER = { trace: '4bf92f3577b34da6a3ce929d0e0e4736', id: '00f067aa0ba902b7', state: 'congo=t61rcWkgMzE,rojo=00f067aa0ba902b7' };

const traced = (to, more = '') => `[traces]\nendpoint = "${to.url}"\nbatch_pause_ms = 20\n${more}\n`;
const caller = (flags = '01') => ({ traceparent: `00-${CALLER.trace}-${CALLER.id}-${flags}`, tracestate: CALLER.state });
const webhook = (receiver, more) => `
[[webhook]]
id = "audit"
app = "demo"
url = "${receiver.url}/hook?key=hunter2"
secrets = ["${secret()}"]
${more}
`;

/// What `traceparent` says.
function parent(text) {
  const [, trace, id, flags] = /^00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])$/.exec(text ?? '') ?? assert.fail(`no traceparent: ${text}`);
  return { trace, id, made: flags === '01' };
}

test('a hook is asked within the trace of the command, once for each try', async (t) => {
  const to = await collector(t);
  let failing = true;
  const asked = await backend(t, secret(), ({ event }) => {
    if (event === 'call') return { status: 404, raw: '' };
    if (event !== 'publish' || !failing) return {};
    failing = false;
    return { status: 503, raw: '' };
  });
  const ways = hook({ ...asked, secret: asked.secret, url: `${asked.url}?key=hunter2` }, ['connect', 'subscribe', 'publish', 'call'], 'retries = 1\nbackoff_ms = 1');
  const server = await omnivox(t, { settings: `${OPEN}${traced(to)}${ways}` });
  await server.post('/v1/publish', { channel: 'news', data: 1 }, caller());
  const socket = await connect(t, server.ws);
  await socket.subscribe('news');
  await socket.call({ type: 'call', method: 'nobody', data: 1 });
  const questions = [];
  for (const event of ['connect', 'publish', 'publish', 'connect', 'subscribe', 'call']) questions.push(await asked.next(event));
  await server.stop();
  const found = spans(to.requests);
  const below = (headers) => {
    const { trace, id, made } = parent(headers.traceparent);
    assert.ok(made);
    const request = found.find((span) => span.id === id && span.trace === trace);
    const command = found.find((span) => span.id === request.parent && span.trace === trace);
    assert.deepEqual([request.name, request.kind, request.attributes['http.request.method'], request.attributes['url.full']], ['POST test', CLIENT, 'POST', `${asked.url}?…`]);
    assert.deepEqual([request.attributes['server.address'], request.attributes['server.port']], ['127.0.0.1', asked.port]);
    assert.ok(request.start >= command.start - 1e6 && request.end <= command.end + 1e6, 'while the command runs, as far as the clock tells');
    return { request, command };
  };
  const [connected, , published, , subscribed, called] = questions.map(({ id }) => asked.headers.get(id));
  for (const [headers, name] of [[connected, 'connect'], [published, 'publish']]) {
    const { request, command } = below(headers[0]);
    assert.deepEqual([command.name, command.trace, request.state, headers[0].tracestate], [name, CALLER.trace, CALLER.state, CALLER.state]);
    assert.equal(found.find(({ id }) => id === command.parent).parent, CALLER.id);
  }
  const tries = published.map((headers) => below(headers).request);
  assert.deepEqual(
    tries.map(({ status, message, attributes }) => [status, message, attributes['http.response.status_code'], attributes['http.request.resend_count']]),
    [[FAILED, '503', 503, undefined], [0, '', 200, 1]],
    'each try has a span of its own',
  );
  // Over the WebSocket each command has a trace of its own, and no other system's notes.
  const { request, command } = below(subscribed[0]);
  assert.deepEqual([command.name, command.parent, request.state, subscribed[0].tracestate], ['subscribe', '', '', undefined]);
  assert.notEqual(command.trace, CALLER.trace);
  assert.equal(below(called[0]).request.message, '404');
  assert.doesNotMatch(to.requests.map(({ body }) => body).join(), /hunter/, 'what is behind the ? is nobody\'s business');
});

test('a hook is told when no trace is made, and without traces a client\'s context goes nowhere', async (t) => {
  const to = await collector(t);
  // The settings, the caller's flags; then what the hook is asked with.
  const cases = [
    [traced(to), '00', ({ trace, made }, { tracestate }) => [trace, made, tracestate].join() === [CALLER.trace, false, CALLER.state].join()],
    [traced(to, 'sample_ratio = 0'), null, ({ trace, made }, { tracestate }) => trace !== CALLER.trace && !made && tracestate === undefined],
    ['', '01', null],
  ];
  for (const [settings, flags, right] of cases) {
    const asked = await backend(t, secret());
    const server = await omnivox(t, { settings: `${OPEN}${settings}${hook(asked, ['publish'])}` });
    await server.post('/v1/publish', { channel: 'news', data: 1 }, flags ? caller(flags) : {});
    const [headers] = asked.headers.get((await asked.next('publish')).id);
    if (right) assert.ok(right(parent(headers.traceparent), headers), JSON.stringify(headers));
    else assert.deepEqual([headers.traceparent, headers.tracestate], [undefined, undefined]);
    await server.stop();
  }
  assert.deepEqual(spans(to.requests), []);
});

test('a webhook\'s delivery is a trace of its own, with links to what led to it', async (t) => {
  const to = await collector(t);
  const told = await receiver(t);
  told.answers = [503];
  const settings = `${OPEN}${traced(to)}${webhook(told, 'events = ["occupied", "client_event"]\nbatch_delay_ms = 60000\nbatch_max = 3\ndebounce_ms = 0')}`;
  const server = await omnivox(t, { settings });
  await server.post('/v1/publish', { channel: 'news', data: 1 }, caller());
  await server.post('/v1/publish', { channel: 'news', data: 2 }, caller('00'));
  const socket = await connect(t, server.ws);
  await socket.subscribe('news');
  const requests = [await told.requests.next(), await told.requests.next()];
  await server.stop();
  const found = spans(to.requests);
  const { events } = requests[1];
  assert.deepEqual(requests.map(({ status, events }) => `${status} ${events.map(({ type }) => type)}`), ['503', '204'].map((status) => `${status} client_event,client_event,occupied`));
  // Each event says what led to it, when that has a trace.
  const origins = events.map(({ traceparent }) => traceparent && parent(traceparent));
  const named = (origin) => found.find(({ id, trace }) => id === origin?.id && trace === origin?.trace)?.name;
  assert.deepEqual(origins.map(named), ['publish', undefined, 'subscribe']);
  assert.deepEqual([origins[0].trace, events[0].tracestate, events[1].traceparent, events[2].tracestate], [CALLER.trace, CALLER.state, undefined, undefined]);
  // The delivery has links to these, and each attempt is below it.
  const [delivery] = found.filter(({ name }) => name === 'send audit');
  assert.deepEqual([delivery.kind, delivery.parent, delivery.status, delivery.attributes['messaging.batch.message_count']], [PRODUCER, '', 0, 3]);
  const links = [{ trace: CALLER.trace, id: origins[0].id, state: CALLER.state }, { trace: origins[2].trace, id: origins[2].id, state: '' }];
  assert.deepEqual(delivery.links, links);
  const attempts = requests.map(({ headers }) => {
    const { trace, id, made } = parent(headers.traceparent);
    const attempt = found.find((span) => span.id === id);
    assert.deepEqual([made, trace, attempt.trace, attempt.parent, attempt.kind], [true, delivery.trace, delivery.trace, delivery.id, CLIENT]);
    return [attempt.name, attempt.attributes['http.response.status_code'], attempt.attributes['http.request.resend_count'], attempt.message];
  });
  assert.deepEqual(attempts, [['POST audit', 503, undefined, '503'], ['POST audit', 204, 1, '']]);
  assert.doesNotMatch(to.requests.map(({ body }) => body).join(), /hunter/);
});

test('what nobody traced is told as ever', async (t) => {
  const to = await collector(t);
  const told = await receiver(t);
  const settings = (traces) => `${OPEN}${traces}${webhook(told, 'events = ["client_event"]\nbatch_delay_ms = 1')}`;
  for (const traces of ['', traced(to, 'sample_ratio = 0')]) {
    const server = await omnivox(t, { settings: settings(traces) });
    await server.post('/v1/publish', { channel: 'news', data: 1 }, traces ? {} : caller());
    const { headers, events } = await told.requests.next();
    await server.stop();
    assert.deepEqual([headers.traceparent, headers.tracestate, events[0].traceparent, events[0].tracestate], Array(4).fill(undefined));
  }
  assert.deepEqual(spans(to.requests), []);
});

test('a try that got no answer in time says so', async (t) => {
  const to = await collector(t);
  const asked = await backend(t, secret(), () => HANG);
  const server = await omnivox(t, { settings: `${OPEN}${traced(to)}${hook(asked, ['publish'], 'retries = 0\ntimeout_ms = 200')}` });
  for (let tries = 0; tries < 5; tries += 1) assert.equal((await server.post('/v1/publish', { channel: 'news', data: 1 })).status, 503);
  await server.stop();
  const tries = spans(to.requests).filter(({ name }) => name === 'POST test');
  assert.deepEqual(tries.map(({ status, message }) => [status, message]), Array(5).fill([FAILED, 'deadline']));
});
