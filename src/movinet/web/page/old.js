// For browsers that do not know modules.
document.addEventListener("DOMContentLoaded", function () {
  document.getElementById("old").hidden = false;
});
