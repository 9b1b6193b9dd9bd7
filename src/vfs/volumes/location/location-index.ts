/** What a location needs of the index. Owns: the list; whoever drives a location in another thread answers these from there. */
import type { Index } from '../../../index/contract.ts'

export type LocationIndex = Pick<
  Index,
  | 'putNode'
  | 'putEntry'
  | 'createEntry'
  | 'removeEntry'
  | 'renameEntry'
  | 'node'
  | 'lookup'
  | 'children'
  | 'links'
  | 'applyDirectory'
  | 'beginListing'
  | 'scanToken'
  | 'directories'
  | 'updateVolume'
  | 'slot'
  | 'slots'
  | 'assignIno'
  | 'scanState'
  | 'setScanState'
  | 'markScanned'
  | 'isScanned'
  | 'addSource'
>
