// Calls between peers over omnivox: rooms, streams and data channels in a few lines.
//
//   const call = await room(client, 'standup', { data: { name: 'Ana' } });
//   call.on('peer', (peer) => peer.on('stream', (stream) => { video.srcObject = stream; }));
//   call.addStream(await navigator.mediaDevices.getUserMedia({ video: true, audio: true }));
//   call.send({ text: 'hi' });                      // to everyone, over data channels
//
// Whoever comes later is the polite one of two (the server's rule), so that offers that cross are settled without a word. A lost connection
// to the server keeps its seat: the media goes on, and the same secret takes the same seat again.
//
// Invariant: a peer is known by its seat, which nobody can forge, and never by what a message says of itself.

const BATCH_MS = 20;
/// How long a side whose end of a channel is open waits for word that the other side's is, too.
const OPEN_MS = 2_000;

/// Takes a seat in a room and connects to everyone who is or comes there.
export async function room(client, name, options = {}) {
  const joined = new Room(client, name, options);
  await joined.ready;
  return joined;
}

class Emitter extends EventTarget {
  on(name, listener) {
    const heard = ({ detail }) => listener(detail);
    this.addEventListener(name, heard);
    return () => this.removeEventListener(name, heard);
  }

  emit(name, detail) {
    this.dispatchEvent(Object.assign(new Event(name), { detail }));
  }
}

export class Room extends Emitter {
  #client;
  #options;
  #secret;
  #peers = new Map();
  #streams = new Set();
  #undo = [];
  #left = false;
  #refresh = null;
  /// What comes while the seat is being taken, for it may tell of members that only the answer names.
  #waiting = null;

  constructor(client, name, options) {
    super();
    this.#client = client;
    this.#options = options;
    this.#secret = options.secret ?? crypto.randomUUID();
    this.name = name;
    this.member = undefined;
    this.iceServers = [];
    this.ready = new Promise((resolve, reject) => {
      this.#undo.push(
        client.on('signal', (message) => { if (message.channel === name) this.#seated(() => this.#peers.get(message.from)?.hear(message.data)); }),
        client.on('presence', (message) => { if (message.channel === name) this.#seated(() => this.#onPresence(message)); }),
        client.on('subscribed', (answer) => { if (answer.channel === name) this.#sit().then(resolve, reject); }),
        client.on('refused', ({ channel, error }) => { if (channel === name) reject(error); }),
      );
    });
    client.subscribe(name, () => {}, { presence: true });
  }

  get peers() {
    return [...this.#peers.values()];
  }

  /// Everyone who is or comes here gets the stream.
  addStream(stream) {
    this.#streams.add(stream);
    for (const peer of this.#peers.values()) peer.addStream(stream);
  }

  removeStream(stream) {
    this.#streams.delete(stream);
    for (const peer of this.#peers.values()) peer.removeStream(stream);
  }

  /// Says something to every peer over the data channels.
  send(data) {
    for (const peer of this.#peers.values()) peer.send(data);
  }

  /// Only relays, or any path: existing connections are made anew.
  setPolicy(iceTransportPolicy) {
    this.#options = { ...this.#options, iceTransportPolicy };
    this.#reconfigure(true);
  }

  /// Leaves: the others see it at once.
  async leave() {
    if (this.#left) return;
    this.#left = true;
    clearTimeout(this.#refresh);
    this.#undo.forEach((undo) => undo());
    for (const peer of this.#peers.values()) peer.close();
    this.#peers.clear();
    this.#client.unsubscribe(this.name);
    if (this.member) await this.#client.request({ type: 'leave', channel: this.name, key: this.member }).catch(() => {});
  }

  get configuration() {
    const { iceTransportPolicy = 'all', iceServers = this.iceServers, relayOver } = this.#options;
    const fits = (url) => !relayOver || (relayOver === 'tls' ? url.startsWith('turns:') : url.startsWith('turn:') && url.endsWith(`?transport=${relayOver}`));
    const servers = iceServers.map((server) => ({ ...server, urls: [server.urls].flat().filter(fits) })).filter(({ urls }) => urls.length > 0);
    return { iceServers: servers, iceTransportPolicy, bundlePolicy: 'max-bundle' };
  }

  /// Does `work` now, or behind the answer that is on its way: a carrier may hand over both in one piece.
  #seated(work) {
    if (this.#waiting) this.#waiting.push(work);
    else work();
  }

  /// Takes the seat: the first time, and again after every loss of the connection.
  async #sit() {
    this.#waiting ??= [];
    try {
      await this.#enter();
    } finally {
      const waiting = this.#waiting ?? [];
      this.#waiting = null;
      waiting.forEach((work) => work());
    }
  }

  async #enter() {
    const { member, data } = { member: this.member, data: this.#options.data };
    const answer = await this.#client.request({ type: 'enter', channel: this.name, seat: this.#secret, ...(member ? { member } : {}), ...(data ? { data } : {}) });
    const again = member !== undefined && answer.member === member;
    this.member = answer.member;
    this.#learnServers(answer);
    const here = new Set(answer.peers.map((peer) => peer.member));
    for (const known of [...this.#peers.keys()]) if (!here.has(known)) this.#drop(known);
    for (const peer of answer.peers) {
      const known = this.#peers.get(peer.member);
      if (!known) this.#add(peer);
      else if (known.session !== peer.session) known.returned(peer.session);
      else known.resume();
    }
    if (again) this.emit('returned');
  }

  #learnServers({ iceServers, ttl }) {
    if (!iceServers) return;
    this.iceServers = iceServers;
    this.#reconfigure(false);
    // Before they end there are new ones; allocations that live go on with the old.
    clearTimeout(this.#refresh);
    this.#refresh = setTimeout(() => {
      this.#client.http('GET', `/v1/ice?channel=${encodeURIComponent(this.name)}`).then((answer) => this.#learnServers(answer), () => {});
    }, Math.max(ttl * 800, 10_000));
  }

  #reconfigure(restart) {
    for (const peer of this.#peers.values()) peer.configure(this.configuration, restart);
  }

  #onPresence({ action, member: { key, session, user, data } }) {
    if (!this.member || key === this.member || !key.startsWith('~')) return;
    const known = this.#peers.get(key);
    if (action === 'leave') {
      // A seat that was taken again leaves behind the entry of the session before.
      if (known && known.session === session) this.#drop(key);
    } else if (known) {
      known.data = data;
      known.returned(session);
    } else {
      this.#add({ member: key, session, user, data, polite: this.member > key });
    }
  }

  #add(about) {
    const peer = new Peer(about, this.configuration, (data) => this.#client.tell({ type: 'signal', channel: this.name, to: about.member, data }));
    this.#peers.set(about.member, peer);
    peer.on('message', (data) => this.emit('message', { peer, data }));
    peer.on('change', () => this.emit('change', peer));
    this.emit('peer', peer);
    for (const stream of this.#streams) peer.addStream(stream);
  }

  #drop(key) {
    const peer = this.#peers.get(key);
    this.#peers.delete(key);
    peer?.close();
    this.emit('gone', peer);
  }
}

/// Another member and the connection to it.
export class Peer extends Emitter {
  #say;
  #making = false;
  #ignored = false;
  #settingAnswer = false;
  #candidates = [];
  #timer = null;
  /// What is to be said once both ends of the channel are open, whether the other side told that its end is, and whether both are.
  #early = [];
  #told = false;
  #ready = false;
  #patience = null;
  #work = Promise.resolve();
  /// A description that could not be said, because there was no connection to the server.
  #unsaid = undefined;

  constructor({ member, session, user, data, polite }, configuration, say) {
    super();
    Object.assign(this, { member, session, user, data, polite });
    this.#say = say;
    this.connection = new RTCPeerConnection(configuration);
    this.channel = undefined;
    this.streams = [];
    this.#listen();
    // One side alone makes the channel: a rolled back offer would close that of the polite one.
    if (!polite) this.#use(this.connection.createDataChannel('omnivox'));
  }

  get state() {
    return this.connection.connectionState;
  }

  addStream(stream) {
    for (const track of stream.getTracks()) this.connection.addTrack(track, stream);
  }

  removeStream(stream) {
    const tracks = stream.getTracks();
    for (const sender of this.connection.getSenders()) if (tracks.includes(sender.track)) this.connection.removeTrack(sender);
  }

  send(data) {
    const text = JSON.stringify(data);
    if (this.#ready && this.channel.readyState === 'open') this.channel.send(text);
    else if (this.#early.length < 100) this.#early.push(text);
  }

  configure(configuration, restart) {
    this.connection.setConfiguration(configuration);
    if (restart) this.connection.restartIce();
  }

  /// The member is on another session: what was on its way to the one before may be lost.
  returned(session) {
    if (session === this.session) return;
    this.session = session;
    this.resume();
  }

  /// This side or the other is connected to the server again: says again what may be lost.
  resume() {
    const { signalingState, localDescription } = this.connection;
    this.#tell(signalingState === 'have-local-offer' ? { description: localDescription } : {});
    if (signalingState === 'stable' && !['connected', 'new', 'connecting'].includes(this.state)) this.connection.restartIce();
  }

  /// Takes what the peer says. One thing after the other: a candidate never overtakes its description.
  hear(data) {
    if (data.open) this.#begin();
    this.#work = this.#work.then(async () => {
      if (data.description) await this.#onDescription(data.description);
      for (const candidate of data.candidates ?? []) {
        await this.connection.addIceCandidate(candidate).catch((error) => { if (!this.#ignored) throw error; });
      }
    }).catch((error) => { if (this.connection.signalingState !== 'closed') this.emit('error', error); });
  }

  /// How the two are connected, from the browser's own figures.
  async path() {
    const stats = await this.connection.getStats();
    const all = [...stats.values()];
    const transport = all.find((entry) => entry.type === 'transport' && entry.selectedCandidatePairId);
    const pair = transport ? stats.get(transport.selectedCandidatePairId) : all.find((entry) => entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded');
    const video = all.find((entry) => entry.type === 'inbound-rtp' && entry.kind === 'video');
    const end = (id) => {
      const { candidateType = '', protocol = '', relayProtocol = '', address = '', port = 0 } = stats.get(id) ?? {};
      return { type: candidateType, protocol, relayProtocol, address, port };
    };
    return {
      state: this.state,
      local: pair && end(pair.localCandidateId),
      remote: pair && end(pair.remoteCandidateId),
      roundTripMs: pair?.currentRoundTripTime === undefined ? undefined : pair.currentRoundTripTime * 1000,
      bytesIn: pair?.bytesReceived ?? 0,
      bytesOut: pair?.bytesSent ?? 0,
      framesDecoded: video?.framesDecoded ?? 0,
      framesPerSecond: video?.framesPerSecond ?? 0,
      width: video?.frameWidth ?? 0,
      height: video?.frameHeight ?? 0,
      packetsLost: video?.packetsLost ?? 0,
      jitterMs: (video?.jitter ?? 0) * 1000,
    };
  }

  close() {
    clearTimeout(this.#timer);
    clearTimeout(this.#patience);
    this.connection.close();
    this.emit('closed');
  }

  #listen() {
    const { connection } = this;
    connection.ondatachannel = ({ channel }) => { if (channel.label === 'omnivox') this.#use(channel); };
    connection.onnegotiationneeded = async () => {
      try {
        this.#making = true;
        await connection.setLocalDescription();
        this.#tell({ description: connection.localDescription });
      } catch (error) {
        if (connection.signalingState !== 'closed') this.emit('error', error);
      } finally {
        this.#making = false;
      }
    };
    connection.onicecandidate = ({ candidate }) => {
      if (!candidate) return;
      this.#candidates.push(candidate.toJSON());
      // Candidates come in bursts: one message for each burst.
      this.#timer ??= setTimeout(() => this.#tell({}), BATCH_MS);
    };
    connection.onconnectionstatechange = () => {
      if (connection.connectionState === 'failed') connection.restartIce();
      this.emit('change');
    };
    connection.ontrack = ({ track, streams: [stream] }) => {
      if (!stream || this.streams.includes(stream)) return;
      this.streams.push(stream);
      stream.onremovetrack = () => {
        if (stream.getTracks().length > 0) return;
        this.streams = this.streams.filter((known) => known !== stream);
        this.emit('change');
      };
      this.emit('stream', stream);
      this.emit('track', track);
    };
  }

  /// Its two ends do not open at the same time, and what comes to one that is just opening Chromium 156 may lose: each side tells when its end is
  /// open, and says no word before it was told, unless nobody tells.
  #use(channel) {
    this.channel = channel;
    const opened = () => {
      // A channel that the other side made is open already, and says so all the same.
      if (this.#patience) return;
      this.#patience = setTimeout(() => this.#begin(), OPEN_MS);
      this.#say({ open: true });
      if (this.#told) this.#begin();
    };
    channel.onopen = opened;
    channel.onmessage = ({ data }) => {
      this.#begin();
      try {
        this.emit('message', JSON.parse(data));
      } catch {
        this.emit('message', data);
      }
    };
    if (channel.readyState === 'open') opened();
  }

  /// Both ends are open.
  #begin() {
    this.#told = true;
    if (this.#ready || this.channel?.readyState !== 'open') return;
    this.#ready = true;
    clearTimeout(this.#patience);
    for (const text of this.#early.splice(0)) this.channel.send(text);
    this.emit('open');
  }

  /// Says a description, and the candidates that wait, in this order.
  #tell(data) {
    clearTimeout(this.#timer);
    this.#timer = null;
    const candidates = this.#candidates.splice(0);
    const description = data.description ?? this.#unsaid;
    this.#unsaid = undefined;
    if (!description && candidates.length === 0) return;
    if (this.#say({ ...(description ? { description } : {}), ...(candidates.length > 0 ? { candidates } : {}) })) return;
    this.#unsaid = description;
    this.#candidates.unshift(...candidates);
  }

  /// The perfect negotiation of the WebRTC specification.
  async #onDescription(description) {
    const { connection } = this;
    const ready = !this.#making && (connection.signalingState === 'stable' || this.#settingAnswer);
    const collision = description.type === 'offer' && !ready;
    this.#ignored = !this.polite && collision;
    if (this.#ignored) return;
    this.#settingAnswer = description.type === 'answer';
    await connection.setRemoteDescription(description).finally(() => { this.#settingAnswer = false; });
    if (description.type !== 'offer') return;
    await connection.setLocalDescription();
    this.#tell({ description: connection.localDescription });
  }
}
