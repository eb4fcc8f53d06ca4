// Lets the page be opened again when there is no network: a copy of what it was made of.

if ("serviceWorker" in navigator && isSecureContext) {
  // Without it (a private window, perhaps) the page works as long as there is a network.
  navigator.serviceWorker.register("sw.js").catch(() => {});
}
