// Three members, one of them behind a router that translates addresses: a direct path where there is one, the relay where there is none.
// parts: python, netns
// budget: 240 s

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { member } from '../lib/members.mjs';
import { networks } from '../lib/networks.mjs';
import { BINARY, cleanEnvironment } from '../lib/omnivox.mjs';
import { folder, program } from '../lib/programs.mjs';
import { OPEN } from '../lib/settings.mjs';

async function meeting(t, translation) {
  const network = networks(t, { translation });
  const file = path.join(folder(t), 'omnivox.toml');
  writeFileSync(file, `${OPEN.replace('127.0.0.1:0', `${network.address}:8080`).replace('[server]', '[server]\nopen_to_the_network = true')}
[turn]
udp = ["${network.address}:3478"]
peers_allow = ["${network.own}"]
`);
  const [command, ...args] = [...network.command('internet'), BINARY, 'serve', '--config', file];
  const server = program(t, command, args, { env: cleanEnvironment({ NO_COLOR: '1' }) });
  await server.printed(new RegExp(`http://${network.address.replaceAll('.', '\\.')}:8080`));
  const url = `http://${network.address}:8080`;
  const in_ = (place, name) => member(t, { url, name, peers: 2, inside: network.command(place) });
  const [ana, bob, cid] = [in_('office', 'Ana'), in_('office', 'Bob'), in_('home', 'Cid')];
  const done = await Promise.all([ana.done(), bob.done(), cid.done()]);
  const paths = Object.fromEntries(['Ana', 'Bob', 'Cid'].map((name, index) => [name, Object.fromEntries(done[index].map((path) => [path.name, path]))]));
  for (const who of [ana, bob, cid]) await who.leave();
  return paths;
}

const ends = ({ local, remote }) => [local, remote];

test('through a router that keeps ports the path is direct', async (t) => {
  const paths = await meeting(t, 'cone');
  assert.deepEqual(ends(paths.Ana.Bob), ['host', 'host'], 'in the same network');
  for (const name of ['Ana', 'Bob']) {
    assert.ok(!ends(paths.Cid[name]).includes('relay'), `Cid reaches ${name} directly: ${JSON.stringify(paths.Cid[name])}`);
    assert.ok(['srflx', 'prflx'].includes(paths[name].Cid.remote), `${name} sees the router's address: ${JSON.stringify(paths[name].Cid)}`);
  }
});

test('through one that draws a port for every destination it is the relay', async (t) => {
  const paths = await meeting(t, 'symmetric');
  assert.deepEqual(ends(paths.Ana.Bob), ['host', 'host'], 'in the same network');
  for (const name of ['Ana', 'Bob']) assert.ok(ends(paths.Cid[name]).includes('relay'), `Cid reaches ${name} over the relay: ${JSON.stringify(paths.Cid[name])}`);
});
