// What computes the streams of this page: a server. The page that `movinet export --page` writes has
// another file of this name, with the same exports, whose streams are computed in the browser.

export { Server as Backend, ServerError } from "./server.js";
export { StreamSocket as Stream } from "./socket.js";

/** How streams want their pictures: "jpeg", a Blob, or "pixels", an ImageData. */
export const PICTURES = "jpeg";

/** Sentences in the places of the page with these `data-say`; none: what the page has. */
export const SENTENCES = {};
