// <script type="module" src=".../auto.js"></script> is all that a page needs: its images are upgraded.
import { upgrade } from "./images.js";

upgrade();
