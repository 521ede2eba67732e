// Debian's Chromium, driven by playwright-core.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
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

/// A browser with a camera and a microphone that are none, whose pages may use them. Answers what opens pages; `trust` is the hash of a
/// certificate's key, and only a profile of its own lets Chromium take that.
export async function callers(t, { trust, bypassCSP = false } = {}) {
  const args = [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--disable-dev-shm-usage', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', '--disable-features=WebRtcHideLocalIpsWithMdns',
    ...(trust ? [`--ignore-certificate-errors-spki-list=${trust}`] : []),
  ];
  const executablePath = process.env.E2E_CHROMIUM ?? '/usr/bin/chromium';
  const profile = mkdtempSync(path.join(tmpdir(), 'omnivox-e2e-'));
  const context = await chromium.launchPersistentContext(profile, { executablePath, args, bypassCSP, permissions: ['camera', 'microphone'] });
  t.after(async () => {
    await context.close();
    // The browser's last processes may still be writing.
    rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  });
  // Chromium asks for one wherever a page names none.
  await context.route('**/favicon.ico', (route) => route.fulfill({ status: 204 }));
  return async (url) => {
    const page = await context.newPage();
    page.trouble = [];
    page.on('pageerror', (error) => page.trouble.push(error.message));
    page.on('console', (message) => { if (message.type() === 'error') page.trouble.push(message.text()); });
    await page.goto(url);
    return page;
  };
}
