// Runs the original Autobahn fuzzing client against `/echo` and reports every case of it as a case of ours.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { TARGET, omnivox } from './omnivox.mjs';
import { folder, program } from './programs.mjs';
import { ECHO } from './settings.mjs';

const WSTEST = path.join(TARGET, 'autobahn/bin/wstest');
const GOOD = ['OK', 'INFORMATIONAL'];

export function runAutobahn(title, { cases, count, options = {} }) {
  test(`Autobahn ${title}`, async (t) => {
    const server = await omnivox(t, { settings: ECHO, ...options });
    const home = folder(t);
    const spec = {
      outdir: path.join(home, 'reports'),
      servers: [{ agent: 'omnivox', url: `ws://127.0.0.1:${server.port}/echo` }],
      cases,
      'exclude-cases': [],
      'exclude-agent-cases': {},
    };
    writeFileSync(path.join(home, 'spec.json'), JSON.stringify(spec));
    const suite = program(t, WSTEST, ['-m', 'fuzzingclient', '-s', 'spec.json'], { cwd: home });
    const { code } = await suite.ended;
    const index = path.join(spec.outdir, 'index.json');
    assert.ok(code === 0 && existsSync(index), suite.output.slice(-2000));
    const results = Object.entries(JSON.parse(readFileSync(index, 'utf8')).omnivox);
    for (const [number, { behavior, behaviorClose, reportfile }] of results) {
      await t.test(number, () => {
        if (GOOD.includes(behavior) && GOOD.includes(behaviorClose)) return;
        const { description, expectation, resultClose, result } = JSON.parse(readFileSync(path.join(spec.outdir, reportfile), 'utf8'));
        assert.fail(`${behavior}, close ${behaviorClose}: ${[description, JSON.stringify(expectation), result, resultClose].join(' · ')}`);
      });
    }
    assert.equal(results.length, count, 'the number of cases that the suite has');
  });
}
