// A small video room: the page behind /call.

import { connect } from '/assets/omnivox.js';
import { room } from '/assets/rtc.js';

const $ = (id) => document.getElementById(id);
const address = new URL(location.href);
const name = address.searchParams.get('room') || `call-${crypto.randomUUID().slice(0, 8)}`;
address.searchParams.set('room', name);
history.replaceState(null, '', address);
const who = address.searchParams.get('name') || `guest ${Math.floor(Math.random() * 900 + 100)}`;

$('room').textContent = name;
$('relay').checked = address.searchParams.get('policy') === 'relay';

// `?transports=poll` asks for one way in particular.
const client = connect(location.origin, address.searchParams.has('transports') ? { transports: address.searchParams.get('transports').split(',') } : {});
client.on('state', (state) => { $('state').textContent = state === 'open' ? 'connected' : state; });

const relayOver = address.searchParams.get('over') ?? undefined;
const call = await room(client, name, { data: { name: who }, relayOver, iceTransportPolicy: $('relay').checked ? 'relay' : 'all' }).catch((error) => {
  $('state').textContent = error.message;
  throw error;
});
$('state').textContent = 'connected';
// For tests and for the curious.
window.call = call;

const figures = new Map();
const title = (peer) => String(peer.data?.name ?? 'guest').slice(0, 40);

function figureOf(peer) {
  if (!figures.has(peer)) {
    const figure = document.createElement('figure');
    const video = Object.assign(document.createElement('video'), { autoplay: true, playsInline: true });
    video.setAttribute('aria-label', `Picture of ${title(peer)}`);
    const caption = document.createElement('figcaption');
    caption.textContent = title(peer);
    figure.append(video, caption);
    $('videos').append(figure);
    figures.set(peer, figure);
  }
  return figures.get(peer);
}

function welcome(peer) {
  figureOf(peer);
  peer.on('stream', (stream) => { figureOf(peer).querySelector('video').srcObject = stream; });
  peer.on('open', () => note(title(peer), 'is here'));
}

call.on('peer', welcome);
call.peers.forEach((peer) => {
  welcome(peer);
  if (peer.streams[0]) figureOf(peer).querySelector('video').srcObject = peer.streams[0];
});
call.on('gone', (peer) => {
  note(title(peer), 'left');
  figures.get(peer)?.remove();
  figures.delete(peer);
});
call.on('message', ({ peer, data }) => { if (typeof data?.text === 'string') note(title(peer), data.text); });

function note(from, text) {
  const line = document.createElement('li');
  const author = document.createElement('b');
  author.textContent = `${from}: `;
  line.append(author, text);
  $('chat').append(line);
  while ($('chat').children.length > 200) $('chat').firstChild.remove();
  line.scrollIntoView({ block: 'nearest' });
}

$('say').addEventListener('submit', (event) => {
  event.preventDefault();
  const { text } = event.target.elements;
  if (!text.value) return;
  call.send({ text: text.value });
  note('you', text.value);
  text.value = '';
});

// What is sent: one stream, from the camera or the screen.

let sending = null;

async function send(kind) {
  const wanted = sending?.kind === kind ? null : kind;
  if (sending) {
    call.removeStream(sending.stream);
    for (const track of sending.stream.getTracks()) track.stop();
    sending = null;
  }
  if (wanted) {
    const devices = navigator.mediaDevices;
    const stream = await (wanted === 'screen' ? devices.getDisplayMedia({ video: true }) : devices.getUserMedia({ video: true, audio: true }));
    sending = { kind: wanted, stream };
    call.addStream(stream);
    stream.getVideoTracks()[0]?.addEventListener('ended', () => { if (sending?.stream === stream) send(wanted); });
  }
  $('own').querySelector('video').srcObject = sending?.stream ?? null;
  $('own').classList.toggle('screen', sending?.kind === 'screen');
  for (const id of ['camera', 'screen']) $(id).setAttribute('aria-pressed', String(sending?.kind === id));
  mute($('mute').getAttribute('aria-pressed') === 'true');
}

function mute(muted) {
  $('mute').setAttribute('aria-pressed', String(muted));
  for (const track of sending?.stream.getAudioTracks() ?? []) track.enabled = !muted;
}

const tryTo = (action) => () => Promise.resolve(action()).catch((error) => note('this browser', error.message));
$('camera').addEventListener('click', tryTo(() => send('camera')));
$('screen').addEventListener('click', tryTo(() => send('screen')));
$('mute').addEventListener('click', () => mute($('mute').getAttribute('aria-pressed') !== 'true'));
$('relay').addEventListener('change', () => call.setPolicy($('relay').checked ? 'relay' : 'all'));
$('copy').addEventListener('click', tryTo(() => {
  const link = new URL(location.href);
  link.searchParams.delete('name');
  return navigator.clipboard.writeText(link.href);
}));
$('leave').addEventListener('click', tryTo(async () => {
  await call.leave();
  client.close();
  for (const track of sending?.stream.getTracks() ?? []) track.stop();
  $('state').textContent = 'left';
}));
window.addEventListener('pagehide', () => { call.leave(); });

// How we are connected.

const before = new Map();

function draw(tag, attributes, text) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/// Both ends, and what lies between: nothing, a router, or the relay.
function picture(peer, path) {
  const kinds = [path.local?.type, path.remote?.type];
  const kind = kinds.includes('relay') ? 'relay' : kinds.find((type) => type === 'srflx' || type === 'prflx') ?? kinds[0] ?? 'none';
  const svg = draw('svg', { viewBox: '0 0 320 96', class: kind, role: 'img', 'aria-label': `path to ${title(peer)}: ${kind}` });
  const used = (wanted) => (kind === wanted ? 'wire used' : 'wire');
  svg.append(
    draw('path', { d: 'M44 66 H276', class: used('host') }),
    draw('path', { d: 'M44 66 C90 46 230 46 276 66', class: ['srflx', 'prflx'].includes(kind) ? 'wire used' : 'wire' }),
    draw('path', { d: 'M44 66 L160 22 L276 66', class: used('relay') }),
    draw('rect', { x: 128, y: 8, width: 64, height: 24, rx: 6, class: 'node' }), draw('text', { x: 160, y: 24 }, 'relay'),
    draw('circle', { cx: 44, cy: 66, r: 15, class: 'node' }), draw('text', { x: 44, y: 70 }, 'you'),
    draw('circle', { cx: 276, cy: 66, r: 15, class: 'node' }), draw('text', { x: 276, y: 94 }, title(peer)),
    draw('text', { x: 160, y: 86, class: 'quiet' }, path.local ? `${kinds[0]} ${path.local.relayProtocol || path.local.protocol} – ${kinds[1]}` : path.state),
  );
  return svg;
}

function figuresOf(peer, path) {
  const last = before.get(peer) ?? { at: performance.now() - 1000, bytesIn: 0, bytesOut: 0 };
  const [now, list] = [performance.now(), document.createElement('dl')];
  const rate = (bytes, old) => `${Math.max(0, Math.round((bytes - old) * 8 / (now - last.at)))} kbit/s`;
  const values = {
    in: rate(path.bytesIn, last.bytesIn), out: rate(path.bytesOut, last.bytesOut),
    'round trip': path.roundTripMs === undefined ? '–' : `${path.roundTripMs.toFixed(1)} ms`, jitter: `${path.jitterMs.toFixed(1)} ms`,
    picture: path.width ? `${path.width}×${path.height}` : '–', frames: `${path.framesPerSecond || 0}/s`,
    decoded: String(path.framesDecoded), lost: String(path.packetsLost),
  };
  before.set(peer, { at: now, bytesIn: path.bytesIn, bytesOut: path.bytesOut });
  for (const [term, value] of Object.entries(values)) {
    list.append(Object.assign(document.createElement('dt'), { textContent: term }), Object.assign(document.createElement('dd'), { textContent: value }));
  }
  return list;
}

setInterval(async () => {
  const drawn = await Promise.all(call.peers.map(async (peer) => {
    const path = await peer.path();
    const box = Object.assign(document.createElement('div'), { className: 'path' });
    box.append(picture(peer, path), figuresOf(peer, path));
    return box;
  }));
  const alone = Object.assign(document.createElement('p'), { className: 'quiet', textContent: 'Nobody else is here. Send somebody the link.' });
  $('paths').replaceChildren(...(drawn.length > 0 ? drawn : [alone]));
}, 1000);
