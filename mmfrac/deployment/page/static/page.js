// Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
// Shows images and findings. Components and rates come from the server, for every threshold of the slider;
// what comes from a file is set as text, never as markup.

const HEAT_FROM = 0.05, HEAT_ALPHA = 0.6, STEP = 0.05, LARGEST = 65535;
const at = (id) => document.getElementById(id);
const canvases = { original: at('original'), overlay: at('overlay') };
const state = { model: null, images: [], current: -1, threshold: 0, width: 1, level: 0.5, zoom: 1, x: 0, y: 0, pending: 0 };

const number = (value, digits = 2) => (value === null || value === undefined ? 'not measured' : value.toFixed(digits));
const count = (many, noun) => `${many} ${noun}${many === 1 ? '' : 's'}`;
const say = (text) => { at('status').textContent = text; };
const threshold = () => state.model.thresholds[state.threshold];
const current = () => state.images[state.current];
const found = (image) => (image.header.findings.length ? image.header.findings[state.threshold] : { boxes: [], scores: [] });

function item(tag, text, parent) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

// ---- the model ------------------------------------------------------------------------------------

async function start() {
  const answer = await fetch('/api/model');
  const model = await answer.json();
  state.model = model;
  at('limits').textContent = model.limits.replace('Research use only. Not a medical device.', '').trim();
  at('model').textContent = `Model ${model.name}, SHA-256 ${model.sha256.slice(0, 12)}…, computed in ${model.precision}.`;
  const slider = at('threshold');
  slider.max = model.thresholds.length - 1;
  const select = at('point');
  for (const point of model.operating_points) {
    const option = item('option', `${point.name} (threshold ${point.threshold.toPrecision(3)})`, select);
    option.value = nearest(point.threshold);
  }
  const own = item('option', 'by the slider', select);
  own.value = '';
  const chosen = model.operating_points.find((point) => point.name === model.chosen);
  setThreshold(nearest(chosen ? chosen.threshold : 0.2));
  showDownloads();
  say('Ready.');
}

function nearest(value) {
  let best = 0;
  state.model.thresholds.forEach((one, index) => {
    if (Math.abs(one - value) < Math.abs(state.model.thresholds[best] - value)) best = index;
  });
  return best;
}

function setThreshold(index) {
  state.threshold = Number(index);
  at('threshold').value = state.threshold;
  at('threshold-value').textContent = threshold().toFixed(3);
  const curve = state.model.curve;
  let text = 'FPPI and sensitivity: not measured for this model.';
  if (curve) {
    const fppi = number(curve.fppi[state.threshold], 3), recall = number(curve.sensitivity[state.threshold], 3);
    text = `FPPI ${fppi}, sensitivity ${recall} on ${curve.images} test images with ${curve.lesions} lesions.`;
  }
  at('rates').textContent = text;
  at('threshold').setAttribute('aria-valuetext', `${threshold().toFixed(3)}. ${text}`);
  const options = [...at('point').options];
  const match = options.find((option) => option.value !== '' && Number(option.value) === state.threshold);
  at('point').value = match ? match.value : '';
  showFindings();
  draw();
}

// ---- sending --------------------------------------------------------------------------------------

async function send(files) {
  for (const file of files) {
    state.pending += 1;
    say(`Scoring ${file.name} …`);
    try {
      await sendOne(file);
    } catch (error) {
      addRefused(file.name, error.message);
    }
    state.pending -= 1;
  }
  if (!state.pending) {
    const scored = state.images.filter((image) => image.header.result.scored).length;
    say(`${count(state.images.length, 'image')}, ${scored} scored.`);
  }
  showDownloads();
}

async function sendOne(file) {
  const answer = await post('/api/images', file);
  const reader = answer.body.getReader();
  let held = new Uint8Array(0);
  let member = 0;
  const need = async (count) => {
    const pieces = [held];
    let size = held.length;
    while (size < count) {
      const { done, value } = await reader.read();
      if (done) return false;
      pieces.push(value);
      size += value.length;
    }
    if (pieces.length > 1) {
      held = new Uint8Array(size);
      let offset = 0;
      for (const piece of pieces) { held.set(piece, offset); offset += piece.length; }
    }
    return true;
  };
  const take = (count) => { const taken = held.slice(0, count); held = held.slice(count); return taken; };
  while (await need(4)) {
    const length = new DataView(take(4).buffer).getUint32(0, true);
    if (!await need(length)) throw new Error('the answer was cut');
    const header = JSON.parse(new TextDecoder().decode(take(length)));
    const planeSize = header.plane ? 2 * header.plane[0] * header.plane[1] : 0;
    const mapSize = header.map ? 4 * header.map[0] * header.map[1] : 0;
    if (!await need(planeSize + mapSize)) throw new Error('the answer was cut');
    const image = { header, file, member };
    member += 1;
    image.plane = planeSize ? new Uint16Array(take(planeSize).buffer) : null;
    image.map = mapSize ? new Float32Array(take(mapSize).buffer) : null;
    add(image);
  }
}

async function post(path, file) {
  const form = new FormData();
  form.append('files', file, file.name);
  const answer = await fetch(path, { method: 'POST', body: form });
  if (!answer.ok) throw new Error(await refusal(answer));
  return answer;
}

async function refusal(answer) {
  const text = await answer.text();
  try { return String(JSON.parse(text).detail); } catch { return text.trim() || `refused (${answer.status})`; }
}

function addRefused(name, reason) {
  const result = { image: name, scored: false, reason: 'refused', error: reason, boxes: [], scores: [], score: null };
  add({ header: { result, plane: null, map: null, findings: [] }, file: null, member: 0, plane: null, map: null });
}

function add(image) {
  state.images.push(image);
  const result = image.header.result, index = state.images.length - 1;
  const button = item('button', '', item('li', '', at('images')));
  button.type = 'button';
  item('span', result.image, button);
  const text = result.scored ? ` score ${result.score.toFixed(3)}` : ` not scored: ${result.error || result.reason}`;
  const note = item('span', text, button);
  if (!result.scored) note.className = 'refused';
  button.addEventListener('click', () => show(index));
  if (state.current < 0 || (!current().plane && image.plane)) show(index);
}

// what is doubtful of an image by its header or its pixels
const doubts = (result) => (result.notes && result.notes.length ? ` Doubtful: ${result.notes.join('; ')}.` : '');

// ---- showing --------------------------------------------------------------------------------------

function show(index) {
  if (index < 0 || index >= state.images.length) return;
  state.current = index;
  [...at('images').children].forEach((entry, place) => {
    entry.firstChild.setAttribute('aria-current', String(place === index));
  });
  reset();
  showFindings();
  draw();
  showDownloads();
}

function reset() {
  Object.assign(state, { width: 1, level: 0.5, zoom: 1, x: 0, y: 0 });
}

function showFindings() {
  const body = at('findings');
  body.replaceChildren();
  const image = current();
  if (!image) { at('verdict').textContent = 'No image yet.'; return; }
  const { result } = image.header;
  const name = result.image;
  if (!result.scored) {
    at('verdict').textContent = `${name}: not scored, ${result.error || result.reason}.${doubts(result)}`;
    for (const [kind, canvas] of Object.entries(canvases)) canvas.setAttribute('aria-label', `${kind}: ${name}, not scored`);
    return;
  }
  const { boxes, scores } = found(image);
  const flag = result.score >= threshold();
  const probability = result.probability === null ? '' : `, calibrated probability ${result.probability.toFixed(3)}`;
  const view = result.view ? `, view ${result.view}` : '';
  at('verdict').textContent = `${name}${view}: image score ${result.score.toFixed(3)}${probability}; `
    + `${flag ? 'at or above' : 'below'} the threshold, ${count(boxes.length, 'finding')}.${doubts(result)}`;
  boxes.forEach(([x1, y1, x2, y2], index) => {
    const row = item('tr', '', body);
    item('td', String(index + 1), row);
    item('td', scores[index].toFixed(3), row);
    item('td', `${Math.round((x1 + x2) / 2)}, ${Math.round((y1 + y2) / 2)}`, row);
    item('td', `${Math.round(x2 - x1)} × ${Math.round(y2 - y1)}`, row);
  });
  canvases.original.setAttribute('aria-label', `Original: ${name}, ${result.width} by ${result.height} pixels`);
  canvases.overlay.setAttribute('aria-label', `Overlay: ${name}, ${count(boxes.length, 'finding')} at threshold ${threshold().toFixed(3)}`);
}

function picture(image) {
  const key = `${state.width} ${state.level}`;
  if (image.key === key) return image.grey;
  const [width, height] = image.header.plane;
  if (!image.grey) image.grey = new OffscreenCanvas(width, height);
  const table = new Uint8ClampedArray(LARGEST + 1);
  for (let value = 0; value <= LARGEST; value += 1) {
    table[value] = 255 * ((value / LARGEST - state.level) / state.width + 0.5);
  }
  const context = image.grey.getContext('2d');
  const data = context.createImageData(width, height);
  const words = new Uint32Array(data.data.buffer);
  const { plane } = image;
  for (let index = 0; index < plane.length; index += 1) {
    words[index] = 0xff000000 | (table[plane[index]] * 0x010101);
  }
  context.putImageData(data, 0, 0);
  image.key = key;
  return image.grey;
}

function heat(image) {
  if (image.heat) return image.heat;
  const [width, height] = image.header.map;
  image.heat = new OffscreenCanvas(width, height);
  const context = image.heat.getContext('2d');
  const data = context.createImageData(width, height);
  image.map.forEach((value, index) => {
    const colour = state.model.palette[Math.min(255, Math.round(255 * value))];
    const alpha = HEAT_ALPHA * Math.min(1, Math.max(0, (value - HEAT_FROM) / (0.5 - HEAT_FROM)));
    data.data.set([...colour, Math.round(255 * alpha)], 4 * index);
  });
  context.putImageData(data, 0, 0);
  return image.heat;
}

function draw() {
  const image = current();
  at('window').textContent = state.width.toFixed(2);
  at('level').textContent = state.level.toFixed(2);
  at('zoom').textContent = state.zoom.toFixed(1);
  for (const [kind, canvas] of Object.entries(canvases)) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const context = canvas.getContext('2d');
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!image || !image.plane) continue;
    const { result } = image.header;
    // px of the canvas a px of the image as stored
    const scale = Math.min(width / result.width, height / result.height) * state.zoom;
    const left = width / 2 + (state.x - 0.5) * result.width * scale, top = height / 2 + (state.y - 0.5) * result.height * scale;
    context.setTransform(scale, 0, 0, scale, left, top);
    context.imageSmoothingEnabled = scale < 4;
    context.drawImage(picture(image), 0, 0, result.width, result.height);
    if (kind === 'overlay') drawOverlay(context, image, scale, ratio);
  }
}

function drawOverlay(context, image, scale, ratio) {
  const { result, map } = image.header;
  if (map && at('heat').checked) {
    const [sx, sy] = result.map_scale;
    context.save();
    context.beginPath();
    context.rect(0, 0, result.width, result.height);
    context.clip();
    context.imageSmoothingEnabled = true;
    context.drawImage(heat(image), 0, 0, map[0] * sx, map[1] * sy);
    context.restore();
  }
  if (!at('boxes').checked) return;
  const { boxes, scores } = found(image);
  context.lineWidth = 2 * ratio / scale;
  context.font = `${14 * ratio / scale}px system-ui, sans-serif`;
  context.textBaseline = 'bottom';
  boxes.forEach(([x1, y1, x2, y2], index) => {
    context.strokeStyle = '#000';
    context.strokeRect(x1 - context.lineWidth, y1 - context.lineWidth, x2 - x1 + 2 * context.lineWidth, y2 - y1 + 2 * context.lineWidth);
    context.strokeStyle = '#fff';
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const text = `${index + 1}: ${scores[index].toFixed(2)}`;
    const y = y1 - 3 * context.lineWidth > 14 * ratio / scale ? y1 - 3 * context.lineWidth : y2 + 18 * ratio / scale;
    const x = Math.max(0, Math.min(x1, result.width - context.measureText(text).width));
    context.strokeStyle = '#000';
    context.strokeText(text, x, y);
    context.fillStyle = '#fff';
    context.fillText(text, x, y);
  });
}

// ---- hands and keys -------------------------------------------------------------------------------

function change(delta) {
  state.width = Math.min(4, Math.max(0.01, state.width * (1 + (delta.width || 0))));
  state.level = Math.min(1.5, Math.max(-0.5, state.level + (delta.level || 0)));
  state.zoom = Math.min(40, Math.max(0.5, state.zoom * (delta.zoom || 1)));
  state.x += delta.x || 0;
  state.y += delta.y || 0;
  draw();
}

const KEYS = {
  ArrowRight: { width: STEP }, ArrowLeft: { width: -STEP }, ArrowUp: { level: -STEP }, ArrowDown: { level: STEP },
  '+': { zoom: 1.2 }, '=': { zoom: 1.2 }, '-': { zoom: 1 / 1.2 },
  a: { x: STEP }, d: { x: -STEP }, w: { y: STEP }, s: { y: -STEP },
};

for (const canvas of Object.values(canvases)) {
  canvas.addEventListener('pointerdown', (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener('pointermove', (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const image = current();
    if (!image || !image.plane) return;
    if (event.shiftKey) {
      const { result } = image.header;
      const scale = Math.min(canvas.clientWidth / result.width, canvas.clientHeight / result.height) * state.zoom;
      change({ x: event.movementX / (scale * result.width), y: event.movementY / (scale * result.height) });
    } else {
      change({ width: event.movementX / 200, level: event.movementY / 400 });
    }
  });
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    change({ zoom: event.deltaY < 0 ? 1.1 : 1 / 1.1 });
  }, { passive: false });
  canvas.addEventListener('keydown', (event) => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (KEYS[key]) change(KEYS[key]);
    else if (key === '0') { reset(); draw(); }
    else if (key === 'n') show(state.current + 1);
    else if (key === 'p') show(state.current - 1);
    else return;
    event.preventDefault();
  });
}
at('zoom-in').addEventListener('click', () => change({ zoom: 1.2 }));
at('zoom-out').addEventListener('click', () => change({ zoom: 1 / 1.2 }));
at('reset').addEventListener('click', () => { reset(); draw(); });
at('heat').addEventListener('change', draw);
at('boxes').addEventListener('change', draw);
at('threshold').addEventListener('input', (event) => setThreshold(event.target.value));
at('point').addEventListener('change', (event) => { if (event.target.value !== '') setThreshold(event.target.value); });
at('files').addEventListener('change', (event) => { send([...event.target.files]); event.target.value = ''; });
window.addEventListener('resize', draw);
for (const kind of ['dragover', 'drop']) window.addEventListener(kind, (event) => event.preventDefault());
const drop = document.documentElement;
drop.addEventListener('dragover', () => at('drop').classList.add('over'));
drop.addEventListener('dragleave', () => at('drop').classList.remove('over'));
drop.addEventListener('drop', (event) => { at('drop').classList.remove('over'); send([...event.dataTransfer.files]); });

// ---- downloads ------------------------------------------------------------------------------------

function results() {
  const point = state.model.operating_points.find((one) => nearest(one.threshold) === state.threshold);
  return state.images.filter((image) => image.file || !image.header.result.scored).map((image) => {
    const { result } = image.header;
    if (!result.scored) return result;
    return {
      ...result, ...found(image), flag: result.score >= threshold(),
      operating_point: { name: point ? point.name : String(threshold()), threshold: threshold() },
    };
  });
}

function save(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function showDownloads() {
  const any = state.images.some((image) => image.header.result.scored);
  const image = current();
  for (const id of ['json', 'coco']) at(id).disabled = !any;
  for (const id of ['sc', 'sr', 'all']) at(id).disabled = !(image && image.header.result.sop_instance_uid && image.header.result.scored);
}

async function guarded(what, work) {
  say(`Making ${what} …`);
  try { await work(); say(`${what} downloaded. Research use only.`); } catch (error) { say(`${what} cannot be made: ${error.message}`); }
}

const complete = (list) => list.filter((one) => one.model);
at('json').addEventListener('click', () => guarded('JSON', async () => {
  const lines = complete(results()).map((one) => JSON.stringify(one)).join('\n');
  save(new Blob([`${lines}\n`], { type: 'application/x-ndjson' }), 'results.jsonl');
}));
at('coco').addEventListener('click', () => guarded('COCO', async () => {
  const answer = await fetch('/api/coco', {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(complete(results())),
  });
  if (!answer.ok) throw new Error(await refusal(answer));
  save(await answer.blob(), 'findings_coco.json');
}));
for (const [id, kinds] of Object.entries({ sc: 'sc', sr: 'sr', all: 'sc,gsps,sr,seg' })) {
  at(id).addEventListener('click', () => guarded('DICOM objects', async () => {
    const image = current();
    const answer = await post(`/api/objects?threshold=${threshold()}&kinds=${kinds}&member=${image.member}`, image.file);
    save(await answer.blob(), 'findings.zip');
  }));
}

start().catch(() => say('The server does not answer.'));
