// The console's start.
import "./client.js";
import "./dom.js";
import "./overview.js";
import "./feed.js";
import "./dead.js";
import "./enqueue.js";
document.querySelector("#main").textContent = "The console is being built.";
