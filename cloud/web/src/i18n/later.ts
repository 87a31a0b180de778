// Texts of the views that load later: kept out of what a first visit loads.
import { computed } from "@preact/signals";
import { translatedLater } from ".";
import { enLater } from "./en-later";

export const tl = computed(() => translatedLater.value ?? enLater);
