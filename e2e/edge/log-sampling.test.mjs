// What each place in the code may log in a second: a flood of connections that are refused does not fill the disk, and nothing disappears silently.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { raw } from '../lib/raw.mjs';
import { OPEN } from '../lib/settings.mjs';

const CONNECTIONS = 300;
const LINES = 5;

/// The log as objects; what is not whole yet is left for the next time.
const lines = (server) => server.output.split('\n').flatMap((line) => {
  try { return [JSON.parse(line)]; } catch { return []; }
});

for (const [what, limit] of [['a bound', LINES], ['no bound', 0]]) {
  test(`${CONNECTIONS} refusals with ${what}`, async (t) => {
    const settings = OPEN.replace('[server]\nlisten = ["127.0.0.1:0"]', '[server]\nlisten = ["127.0.0.1:0"]\nproxy_protocol = ["127.0.0.1:0"]\ntrusted_proxies = ["127.0.0.1"]');
    const server = await omnivox(t, { settings: `${settings}\n[log]\nlevel = "debug"\nformat = "json"\nlines_per_second = ${limit}\n` });
    const began = Date.now();
    for (let done = 0; done < CONNECTIONS; done += 20) {
      await Promise.all(Array.from({ length: 20 }, async () => {
        const peer = await raw(t, server.port);
        peer.send('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n');
        await peer.closed();
        peer.socket.destroy();
      }));
    }
    const seconds = Math.ceil((Date.now() - began) / 1000) + 1;
    const refusals = () => lines(server).filter(({ message }) => message === 'a connection without a PROXY protocol header was refused').length;
    const told = () => lines(server).filter(({ message }) => message.startsWith('log lines were left out'));
    const leftOut = () => told().reduce((sum, { left_out: count }) => sum + count, 0);
    await until(() => refusals() + leftOut() === CONNECTIONS, `every refusal is written or counted; ${refusals()} and ${leftOut()} are`);
    if (limit === 0) {
      assert.equal(refusals(), CONNECTIONS);
    } else {
      assert.ok(refusals() >= LINES && refusals() <= LINES * seconds, `${refusals()} lines in ${seconds} s`);
      assert.ok(told().every(({ level, at }) => level === 'WARN' && at.startsWith('omnivox_server::shard::proxied:')), JSON.stringify(told()));
    }
  });
}
