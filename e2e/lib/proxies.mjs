// Real proxies in front of the server, with the few settings that our documentation tells operators to use.

import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { accepting, folder, freePort, program } from './programs.mjs';

/// Debian keeps servers where a person's search path does not look.
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;

export async function nginx(t, upstream) {
  const home = folder(t);
  const port = await freePort();
  for (const name of ['body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']) mkdirSync(path.join(home, name));
  const config = `
daemon off;
master_process off;
pid ${home}/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path ${home}/body;
  proxy_temp_path ${home}/proxy;
  fastcgi_temp_path ${home}/fastcgi;
  uwsgi_temp_path ${home}/uwsgi;
  scgi_temp_path ${home}/scgi;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream omnivox { server 127.0.0.1:${upstream}; keepalive 8; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://omnivox;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_read_timeout 75s;
    }
  }
}
`;
  const file = path.join(home, 'nginx.conf');
  writeFileSync(file, config);
  const started = program(t, 'nginx', ['-p', home, '-e', 'stderr', '-c', file], { env: { ...process.env, PATH } });
  await Promise.race([accepting(port), started.ended.then(() => { throw new Error(`nginx ended:\n${started.output}`); })]);
  return front(port);
}

export async function haproxy(t, upstream) {
  const home = folder(t);
  const port = await freePort();
  const config = `
global
  maxconn 1000
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 75s
  timeout tunnel 1h
frontend in
  bind 127.0.0.1:${port}
  default_backend omnivox
backend omnivox
  server one 127.0.0.1:${upstream}
`;
  const file = path.join(home, 'haproxy.cfg');
  writeFileSync(file, config);
  const started = program(t, 'haproxy', ['-db', '-f', file], { env: { ...process.env, PATH } });
  await Promise.race([accepting(port), started.ended.then(() => { throw new Error(`haproxy ended:\n${started.output}`); })]);
  return front(port);
}

function front(port) {
  return { port, url: `http://127.0.0.1:${port}`, ws: `ws://127.0.0.1:${port}/ws` };
}
