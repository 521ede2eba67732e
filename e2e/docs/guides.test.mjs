// The guides show pieces of the programs that the tests run, and every program is linked.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { blocks } from '../lib/documents.mjs';
import { NAMES, text } from '../lib/guides.mjs';
import { ROOT } from '../lib/omnivox.mjs';

const GUIDES = ['from-polling', 'sse-or-websocket', 'polling-to-socketio'].map((name) => `docs/migrate/${name}.md`);

for (const guide of GUIDES) {
  test(`${guide} shows what the programs say`, () => {
    const shown = blocks(guide, 'js');
    assert.ok(shown.length > 0);
    for (const piece of shown) assert.ok(NAMES.some((name) => text(name).includes(piece)), `in no program:\n${piece}`);
  });
}

test('every program is linked in a guide', () => {
  const all = GUIDES.map((guide) => readFileSync(path.join(ROOT, guide), 'utf8')).join('\n');
  for (const name of NAMES) assert.ok(all.includes(`(programs/${name})`), name);
});
