// A worker that counts time: a page's own timers stop in a tab that is not looked at.

let timer = 0;
self.onmessage = ({ data }) => {
  clearInterval(timer);
  timer = data > 0 ? setInterval(() => self.postMessage(null), data) : 0;
};
