(() => {
const body = document.body, $ = id => document.getElementById(id);
const now = $('now'), said = $('said'), lost = $('lost'), leave = $('leave'), again = $('again');
let visit = body.dataset.visit, at = Date.now(), spoke = 0, words = '', top = 0;
let stop = null, timer = 0, bad = 0, polls = false, lostAt = 0, resumed = false, going = false;
const ask = (verb, accept, more) => fetch(location.href, {
  method: verb === '1' ? 'GET' : 'POST', cache: 'no-store',
  headers: {'Hestia-Wait': verb + ';visit=' + visit, Accept: accept}, ...more});
const json = verb => ask(verb, 'application/json', {signal: AbortSignal.timeout(10000)}).then(r => {
  if (!r.ok) throw r.status;
  return r.json();
});
const state = () => body.dataset.state;
const waits = () => state() === 'waiting' || state() === 'ending';
const after = (seconds, call) => { clearTimeout(timer); timer = setTimeout(call, seconds * 1000); };
const text = s => s < 60 ? Math.floor(s) + ' s' : Math.floor(s / 60) + ' min' + (s % 60 >= 1 ? ' ' + Math.floor(s % 60) + ' s' : '');

function tick() {
  const gone = (Date.now() - at) / 1000;
  if (!lostAt) for (const one of now.querySelectorAll('[data-up],[data-down]'))
    one.textContent = text(one.dataset.up ? +one.dataset.up + gone : Math.max(1, one.dataset.down - gone));
  const bar = now.querySelector('progress[data-usual]');
  if (bar && !lostAt) {
    top = Math.max(top, Math.min(.95, +bar.dataset.share + gone / bar.dataset.usual));
    bar.value = top;
    if (state() === 'waiting') document.title = document.title.replace(/\d+ %/, Math.floor(top * 100) + ' %');
  }
  if (words && words !== said.textContent && Date.now() - spoke >= 5000) { spoke = Date.now(); said.textContent = words; }
}

function take(news) {
  at = Date.now(); bad = 0; lost.hidden = true; visit = news.visit;
  if (going) return;
  if (news.state === 'hot') { going = true; halt(); location.reload(); return; }
  if (news.state === 'asleep' && lostAt && at - lostAt < 60000 && !resumed && !document.hidden) {
    resumed = true; lostAt = 0; // the same person still waits for what a restart of the gateway has undone
    press('start'); return;
  }
  lostAt = 0;
  if (news.state !== 'waiting') { words = news.said; spoke = 0; } else words = news.said;
  body.dataset.state = news.state; document.title = news.title;
  if (news.html) now.innerHTML = news.html;
  again.textContent = news.state === 'failed' ? 'Try again' : news.state === 'left' ? 'Wait again' : 'Start';
  tick();
}

function halt() { clearTimeout(timer); if (stop) stop.abort(); stop = null; }

function next(good) { // what follows when an answer has ended
  if (going || !waits()) return;
  if (good && state() === 'waiting') return after(polls || document.hidden ? 5 : 1, follow);
  bad++;
  if (!lostAt) lostAt = Date.now();
  lost.hidden = bad < 2;
  if (bad > 3) polls = true;
  after(Math.min(10, 2 ** (bad - 1)) * (.8 + .4 * Math.random()), follow);
}

async function follow() {
  halt();
  if (polls || document.hidden) {
    try { take(await json('1')); next(true); } catch (e) { next(false); }
    return;
  }
  const mine = stop = new AbortController();
  let silence = setTimeout(() => mine.abort(), 5000), heard = false;
  try {
    const answer = await ask('1', 'text/event-stream', {signal: mine.signal});
    if (!answer.ok) throw answer.status;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = '';;) {
      const {done, value} = await reader.read();
      if (done) break;
      clearTimeout(silence); silence = setTimeout(() => mine.abort(), 5000);
      const parts = (rest + value).split('\n\n');
      rest = parts.pop();
      for (const part of parts) if (part.startsWith('data: ')) { heard = true; take(JSON.parse(part.slice(6))); }
    }
    if (stop === mine) next(heard);
  } catch (e) {
    if (stop !== mine) return; // somebody else goes on
    if (!heard && mine.signal.aborted) polls = true; // a proxy holds the stream back
    next(false);
  } finally { clearTimeout(silence); }
}

async function press(verb) {
  halt();
  again.setAttribute('aria-disabled', 'true');
  try { take(await json(verb)); } catch (e) { lost.hidden = false; }
  again.removeAttribute('aria-disabled');
  if (waits()) follow();
}

again.onclick = e => { e.preventDefault(); top = 0; resumed = true; press('start'); };
leave.hidden = false;
leave.onclick = () => press('leave');
document.addEventListener('visibilitychange', () => { if (waits() && !going) follow(); });
addEventListener('online', () => { if (waits() && !going) follow(); });
addEventListener('pagehide', () => { if (waits() && !going) { halt(); ask('leave', 'application/json', {keepalive: true}).catch(() => {}); } });
addEventListener('pageshow', e => { if (e.persisted && waits()) follow(); });
setInterval(tick, 1000);
if (waits()) follow();
})();
