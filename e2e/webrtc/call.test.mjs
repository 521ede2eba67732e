// The /call page in two Chromium pages with fake media, over our own relay and nothing else: UDP, then TCP.
// parts: chromium
// budget: 120 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chromium } from 'playwright-core';
import { omnivox } from '../lib/omnivox.mjs';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
  '--disable-sync', '--disable-dev-shm-usage', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
];

async function browser(t) {
  const opened = await chromium.launch({ executablePath: process.env.E2E_CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
  t.after(() => opened.close());
  return opened;
}

/// A page in the room, over the relay with that protocol alone. The page's own policy stays in force.
async function enter(launched, server, name, protocol) {
  const context = await launched.newContext({ permissions: ['camera', 'microphone'] });
  const page = await context.newPage();
  page.trouble = [];
  page.on('pageerror', (error) => page.trouble.push(error.message));
  page.on('console', (message) => { if (message.type() === 'error') page.trouble.push(message.text()); });
  await page.goto(`${server.url}/call?room=meeting&policy=relay&over=${protocol}&name=${name}`);
  await page.waitForFunction(() => window.call?.member);
  return page;
}

/// Asks until it is so; the server counts a moment later than the page sees.
async function until(holds, what) {
  const end = Date.now() + 20_000;
  while (!await holds()) {
    assert.ok(Date.now() < end, what);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
}

for (const protocol of ['udp', 'tcp']) {
  test(`a call over the relay with ${protocol}`, async (t) => {
    const server = await omnivox(t);
    const launched = await browser(t);
    const ana = await enter(launched, server, 'Ana', protocol);
    await ana.click('#camera');
    const bob = await enter(launched, server, 'Bob', protocol);
    await bob.click('#camera');
    for (const page of [ana, bob]) {
      let path;
      await until(async () => (path = await page.evaluate(() => window.call.peers[0]?.path()))?.framesDecoded > 5, 'video arrives');
      assert.deepEqual([path.local.type, path.remote.type, path.local.relayProtocol], ['relay', 'relay', protocol]);
    }
    await ana.fill('#say input', 'hi Bob');
    await ana.click('#say button');
    await bob.waitForFunction(() => document.getElementById('chat').textContent.includes('Ana: hi Bob'));
    await ana.waitForSelector('#paths svg.relay');
    if (process.env.E2E_SCREENSHOT) await ana.screenshot({ path: process.env.E2E_SCREENSHOT });
    assert.ok(await server.metric('omnivox_turn_allocations') >= 2, 'the relay is ours');
    await bob.click('#leave');
    await ana.waitForFunction(() => window.call.peers.length === 0);
    await until(async () => await server.metric('omnivox_turn_allocations') === 0, 'nobody relays any more');
    assert.deepEqual([ana.trouble, bob.trouble], [[], []]);
  });
}

test('crossing offers are settled', async (t) => {
  const server = await omnivox(t);
  const launched = await browser(t);
  const [ana, bob] = [await enter(launched, server, 'Ana', 'udp'), await enter(launched, server, 'Bob', 'udp')];
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
