// Debian's Chromium, driven by playwright-core.

import { chromium } from 'playwright-core';

/// A page of a fresh browser; `hosts` maps names to 127.0.0.1, for pages that come from elsewhere; `anyCertificate` trusts every server.
export async function page(t, { hosts = [], anyCertificate = false } = {}) {
  const rules = hosts.map((name) => `MAP ${name} 127.0.0.1`).join(',');
  const browser = await chromium.launch({
    executablePath: process.env.E2E_CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
      ...(rules ? [`--host-resolver-rules=${rules}`] : []),
    ],
  });
  t.after(() => browser.close());
  // The page's own policy lets no inline script run; a test is no attacker.
  const context = await browser.newContext({ bypassCSP: true, ignoreHTTPSErrors: anyCertificate });
  const opened = await context.newPage();
  opened.said = [];
  opened.on('console', (message) => opened.said.push(message.text()));
  opened.on('pageerror', (error) => opened.said.push(`error: ${error.message}`));
  return opened;
}
