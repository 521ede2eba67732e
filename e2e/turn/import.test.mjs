// A file of coturn's becomes settings of ours, and coturn's own client relays with the users that stood in it.
// parts: coturn

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { BINARY, cleanEnvironment } from '../lib/omnivox.mjs';
import { folder, freePort, program } from '../lib/programs.mjs';
import { pair } from './relay.mjs';

const env = cleanEnvironment({ NO_COLOR: '1' });

async function imported(t, text) {
  const file = path.join(folder(t), 'turnserver.conf');
  writeFileSync(file, text);
  const run = program(t, BINARY, ['import', 'turnserver.conf', file], { env });
  let [out, notes] = ['', ''];
  run.child.stdout.on('data', (piece) => { out += piece; });
  run.child.stderr.on('data', (piece) => { notes += piece; });
  const { code } = await run.ended;
  assert.equal(code, 0, run.output);
  return { settings: out, notes };
}

test('the users of a turnserver.conf relay with the settings that were made of it', async (t) => {
  const port = await freePort();
  const { settings, notes } = await imported(t, `
# a usual file
listening-ip=127.0.0.1
listening-port=${port}
realm=omnivox
lt-cred-mech
user=ana:secret
allow-loopback-peers
rfc5766-channel-numbers
min-port=20000
max-port=27999
psql-userdb="host=db"
`);
  assert.match(notes, /line 12: psql-userdb=.* was left out: user databases are not read/);
  const file = path.join(folder(t), 'omnivox.toml');
  writeFileSync(file, settings);
  const relay = program(t, BINARY, ['turn', '--config', file], { env });
  await relay.printed(/relay on udp/);
  const clients = pair(t, { port, username: 'ana', credential: 'secret' });
  const { code } = await clients.ended;
  assert.equal(code, 0, clients.output);
  assert.match(clients.output, /Total lost packets 0 /);
});

test("Debian's sample as it stands", async (t) => {
  const { settings, notes } = await imported(t, readFileSync('/etc/turnserver.conf', 'utf8'));
  assert.match(settings, /^udp = \["0\.0\.0\.0:3478", "\[::\]:3478"\]$/m);
  assert.match(notes, /no user and no static-auth-secret/);
});
