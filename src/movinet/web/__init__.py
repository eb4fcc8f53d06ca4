"""What runs in browsers and Node.js: the JavaScript package, with the engine in WebAssembly."""
