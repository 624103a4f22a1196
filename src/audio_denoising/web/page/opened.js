// Browsers run no modules and no workers of a page that is opened as a file: say so.
if (location.protocol === "file:") document.getElementById("from-file").hidden = false;
