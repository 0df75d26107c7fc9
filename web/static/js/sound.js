/** A short tone; made only after a click, for browsers allow no sound before one. */

let audio = null;
let quietUntil = 0;

export function beep(high, double) {
  audio ??= new AudioContext();
  const now = audio.currentTime;
  if (now < quietUntil) return;
  quietUntil = now + 0.15;
  for (const at of double ? [now, now + 0.09] : [now]) {
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    tone.frequency.value = high ? 880 : 440;
    volume.gain.setValueAtTime(0.06, at);
    volume.gain.exponentialRampToValueAtTime(0.0005, at + 0.08);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + 0.09);
  }
}
