// Real nginx and HAProxy in front of the server, with the settings that docs/proxies.md tells operators to use.

import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { block } from './documents.mjs';
import { accepting, folder, freePort, program } from './programs.mjs';

/// Debian keeps servers where a person's search path does not look.
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;

/// nginx before a port, or before a Unix socket when `upstream` is a path; `location` goes into its location.
export async function nginx(t, upstream, { location = '' } = {}) {
  const home = folder(t);
  const port = await freePort();
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  for (const name of temporary) mkdirSync(path.join(home, name));
  let shown = placed('nginx', { 'listen 80;': `listen 127.0.0.1:${port};` });
  if (typeof upstream === 'number') {
    shown = changed(shown, { '127.0.0.1:8080': `127.0.0.1:${upstream}` });
  } else {
    const overSocket = placed('conf', { '/run/omnivox/omnivox.sock': upstream });
    shown = shown.replace(/upstream omnivox \{[^}]*\}/, () => overSocket);
  }
  shown = changed(shown, { 'location / {': `location / {\n${location}` });
  const file = path.join(home, 'nginx.conf');
  writeFileSync(file, `
daemon off;
master_process off;
pid ${home}/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
access_log off;
${temporary.map((name) => `${name}_temp_path ${home}/${name};`).join('\n')}
${shown}
}
`);
  return started(t, port, 'nginx', ['-p', home, '-e', 'stderr', '-c', file]);
}

/// HAProxy before a port; `backend` is a further line of its backend, `server` further words for the server.
export async function haproxy(t, upstream, { backend = '', server = '' } = {}) {
  const port = await freePort();
  const file = path.join(folder(t), 'haproxy.cfg');
  writeFileSync(file, placed('haproxy', {
    'server one 127.0.0.1:8080': `${backend}\n    server one 127.0.0.1:${upstream} ${server}`, 'bind :80': `bind 127.0.0.1:${port}`,
  }));
  return started(t, port, 'haproxy', ['-db', '-f', file]);
}

/// The block of the document with the test's ports in place of those that it shows.
function placed(language, changes) {
  return changed(block('docs/proxies.md', language), changes);
}

function changed(text, changes) {
  for (const [shown, ours] of Object.entries(changes)) {
    if (!text.includes(shown)) throw new Error(`docs/proxies.md no longer shows '${shown}'`);
    text = text.replace(shown, ours);
  }
  return text;
}

async function started(t, port, name, args) {
  const proxy = program(t, name, args, { env: { ...process.env, PATH } });
  await Promise.race([accepting(port), proxy.ended.then(() => { throw new Error(`${name} ended:\n${proxy.output}`); })]);
  return { port, url: `http://127.0.0.1:${port}`, ws: `ws://127.0.0.1:${port}/ws` };
}
