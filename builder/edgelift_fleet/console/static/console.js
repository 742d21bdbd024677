// Refreshes the live part of a page while somebody looks at it. Without this, the page is as it was loaded.
"use strict";
