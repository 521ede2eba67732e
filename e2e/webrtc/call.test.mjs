// The /call page in two Chromium pages with fake media: directly, and over our own relay and nothing else with UDP, TCP and TLS. Offers that
// cross; a call that goes on while the connection to the server is cut; a page that is never told a credential of its own.
// parts: chromium, openssl
// budget: 240 s

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { certificate, fingerprint, relaySection } from '../lib/certificates.mjs';
import { callers } from '../lib/chromium.mjs';
import { cuttingProxy } from '../lib/cutting-proxy.mjs';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { OPEN } from '../lib/settings.mjs';

/// A page in the room.
async function enter(open, url, name, more = {}) {
  const page = await open(`${url}/call?${new URLSearchParams({ room: 'meeting', name, ...more })}`);
  await page.waitForFunction(() => window.call?.member);
  return page;
}

const pathOf = (page) => page.evaluate(() => window.call.peers[0]?.path());

/// Pictures of both pages, wide and narrow, for a person to look at.
async function show(pages, what) {
  if (!process.env.E2E_SCREENSHOTS) return;
  for (const [width, height] of [[1280, 800], [390, 844]]) {
    for (const [index, page] of pages.entries()) {
      await page.setViewportSize({ width, height });
      await page.screenshot({ path: path.join(process.env.E2E_SCREENSHOTS, `call-${what}-${width}-${index}.png`) });
    }
  }
}

const WAYS = [
  ['directly', {}, 'host', undefined],
  ...['udp', 'tcp', 'tls'].map((over) => [`over the relay with ${over}`, { policy: 'relay', over }, 'relay', over]),
];

for (const [what, more, kind, over] of WAYS) {
  test(`a call ${what}`, async (t) => {
    const files = certificate(t);
    const server = await omnivox(t, { settings: `${OPEN}${relaySection(files)}` });
    const open = await callers(t, { trust: fingerprint(files) });
    const ana = await enter(open, server.url, 'Ana', more);
    await ana.click('#camera');
    const bob = await enter(open, server.url, 'Bob', more);
    await bob.click('#camera');
    for (const page of [ana, bob]) {
      let path;
      await until(async () => (path = await pathOf(page))?.framesDecoded > 5, 'video arrives', 30_000);
      assert.deepEqual([path.local.type, path.remote.type], [kind, kind]);
      if (over) assert.equal(path.local.relayProtocol, over);
      await page.waitForSelector(`#paths svg.${kind}`);
    }
    await ana.fill('#say input', 'hi Bob');
    await ana.click('#say button');
    await bob.waitForFunction(() => document.getElementById('chat').textContent.includes('Ana: hi Bob'));
    const allocations = () => server.metric('omnivox_turn_allocations');
    if (over) assert.ok(await allocations() >= 2, 'the relay is ours');
    await show([ana, bob], over ?? kind);
    await bob.click('#leave');
    await ana.waitForFunction(() => window.call.peers.length === 0);
    await ana.click('#leave');
    await until(async () => await allocations() === 0, 'nobody relays any more');
    assert.deepEqual([ana.trouble, bob.trouble], [[], []]);
  });
}

test('crossing offers are settled', async (t) => {
  const server = await omnivox(t);
  const open = await callers(t);
  const [ana, bob] = [await enter(open, server.url, 'Ana', { policy: 'relay' }), await enter(open, server.url, 'Bob', { policy: 'relay' })];
  const roles = await Promise.all([ana, bob].map((page) => page.waitForFunction(() => window.call.peers.length === 1).then(() => page.evaluate(() => window.call.peers[0].polite))));
  assert.deepEqual(roles, [false, true], 'the later one is polite');
  for (const page of [ana, bob]) await page.waitForFunction(() => window.call.peers[0].channel?.readyState === 'open');
  for (let round = 0; round < 10; round += 1) {
    await Promise.all([ana, bob].map((page) => page.evaluate(() => { window.call.peers[0].connection.addTransceiver('audio'); })));
  }
  for (const page of [ana, bob]) {
    await page.waitForFunction(() => {
      const { connection } = window.call.peers[0];
      return connection.signalingState === 'stable' && connection.getTransceivers().length >= 10 && connection.getTransceivers().every(({ mid }) => mid !== null);
    });
  }
  assert.deepEqual([ana.trouble, bob.trouble], [[], []]);
});

test('the call lives on while the connection to the server is cut, and is negotiated again afterwards', async (t) => {
  const server = await omnivox(t);
  const proxy = await cuttingProxy(t, { port: server.port, seed: 1 });
  proxy.calm();
  const open = await callers(t);
  const more = { policy: 'relay', transports: 'websocket' };
  const ana = await enter(open, proxy.url, 'Ana', more);
  const bob = await enter(open, server.url, 'Bob', more);
  await ana.click('#camera');
  await until(async () => (await pathOf(bob))?.framesDecoded > 5, 'video arrives', 30_000);
  const before = await ana.evaluate(() => {
    window.connection = window.call.peers[0].connection;
    window.states = [];
    window.connection.addEventListener('connectionstatechange', () => window.states.push(window.connection.connectionState));
    window.returned = new Promise((resolve) => { window.call.on('returned', () => resolve(window.call.member)); });
    return window.call.member;
  });
  const frames = (await pathOf(bob)).framesDecoded;
  proxy.cutAll();
  // What is negotiated while there is no connection is said once there is one again.
  await ana.evaluate(() => { window.call.peers[0].connection.addTransceiver('audio'); });
  await bob.click('#camera');
  assert.equal(await ana.evaluate(() => window.returned), before, 'the same seat');
  await until(async () => (await pathOf(bob)).framesDecoded > frames + 5, 'the video went on');
  await until(async () => (await pathOf(ana))?.framesDecoded > 5, 'and what was negotiated afterwards arrives', 30_000);
  for (const page of [ana, bob]) {
    await page.waitForFunction(() => {
      const { connection } = window.call.peers[0];
      return connection.signalingState === 'stable' && connection.getTransceivers().every(({ mid }) => mid !== null);
    });
  }
  const after = await ana.evaluate(() => [window.call.peers[0].connection === window.connection, window.states]);
  assert.deepEqual(after, [true, []], 'one and the same connection, never interrupted');
  assert.ok(proxy.cuts > 0);
});
