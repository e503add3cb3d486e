// Fetching with the errors of the player.
import { DecodeError } from "./decoder.js";

// The response to a request for `address`. Throws DecodeError "network".
export async function fetched(address) {
  let response;
  try {
    response = await fetch(address);
  } catch (error) {
    throw new DecodeError("network", `${address}: ${error.message}`);
  }
  if (!response.ok) throw new DecodeError("network", `${address}: HTTP status ${response.status}`);
  return response;
}
