// The worker of player.js: fetches models, decodes one file after another.
import { serve } from "./service.js";

serve(self);
