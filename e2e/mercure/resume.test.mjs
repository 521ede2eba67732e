// Streams cut at random bytes while publishing goes on: every subscriber counts what was lost, doubled or out of order. Zero.
// budget: 240 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventSource } from 'eventsource';
import { cuttingProxy } from '../lib/cutting-proxy.mjs';
import { until } from '../lib/inbox.mjs';
import { HUB, hub, publish } from './hub.mjs';

const MESSAGES = 300;
const SEED = Number(process.env.SEED ?? 20_261_122);
const TOPICS = ['https://example.com/a/1', 'https://example.com/a/2'];

/// Follows one selector; the id of the last event goes where the generation puts it.
function follow(t, proxy, selector, parameter) {
  const seen = { begun: false, faults: [], count: 0 };
  const newest = {};
  let last = '';
  let source;
  let ended = false;
  t.after(() => { ended = true; source?.close(); });
  const open = () => {
    if (ended) return;
    source = new EventSource(`${proxy.url}${HUB}?${selector}${last && `&${parameter}=${encodeURIComponent(last)}`}`);
    source.onmessage = (event) => {
      const { topic, n } = JSON.parse(event.data);
      last = event.lastEventId;
      if (n === 0) {
        seen.begun = true;
        return;
      }
      if (n !== (newest[topic] ?? 0) + 1) seen.faults.push(`${topic}: ${n} after ${newest[topic] ?? 0}`);
      newest[topic] = n;
      seen.count += 1;
    };
    source.onerror = () => { source.close(); setImmediate(open); };
  };
  open();
  return seen;
}

test('nothing is lost, doubled or reordered', async (t) => {
  const server = await hub(t);
  const proxy = await cuttingProxy(t, { port: server.port, seed: SEED });
  const all = TOPICS.map((topic) => `topic=${encodeURIComponent(topic)}`).join('&');
  const followers = [
    follow(t, proxy, all, 'lastEventID'),
    follow(t, proxy, `topic=${encodeURIComponent('https://example.com/a/{id}')}`, 'Last-Event-ID'),
    follow(t, proxy, 'topic=*', 'lastEventID'),
    follow(t, proxy, `match_urlpattern=${encodeURIComponent('https://example.com/a/:id')}&match=${TOPICS[0]}`, 'last_event_id'),
  ];
  // What a subscriber has to begin with arrives while nothing is cut.
  proxy.cutting = false;
  await until(async () => {
    await Promise.all(TOPICS.map((topic) => publish(server, [['topic', topic], ['data', JSON.stringify({ topic, n: 0 })]])));
    return followers.every(({ begun }) => begun);
  }, 'everybody received something');
  proxy.cutting = true;
  for (let n = 1; n <= MESSAGES; n += 1) {
    for (const topic of TOPICS) {
      // Every third update has an id that its publisher chose.
      const id = n % 3 === 0 ? [['id', `urn:test:${topic}:${n}`]] : [];
      const { status } = await publish(server, [['topic', topic], ['data', JSON.stringify({ topic, n })], ...id]);
      assert.equal(status, 200);
    }
  }
  proxy.calm();
  await until(() => followers.every(({ count }) => count >= MESSAGES * TOPICS.length), 'everybody received all', 60_000);
  t.diagnostic(`seed ${SEED}: ${proxy.cuts} cuts`);
  assert.ok(proxy.cuts > 10, 'the proxy did cut');
  followers.forEach(({ faults, count }, index) => {
    assert.deepEqual(faults, [], `follower ${index}`);
    assert.equal(count, MESSAGES * TOPICS.length, `follower ${index}`);
  });
});
